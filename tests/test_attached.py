"""Values in sentences: the one that stands beside the words that are asked for is shown, and no other."""

import pytest
from documents import Write

from longctx.quotes.exact.look_up import look_up
from longctx.text.source import Document


def told(question: str, *documents: Document) -> list[str]:
    return [one.text for one in look_up(question, documents)]


LEASE = """EQUIPMENT LEASE

The lease begins on 1 June 2024 and ends on 31 May 2026. The monthly rent for the crane is EUR 1,480.
A late fee of EUR 35 is charged. The crane was last inspected on 22 April 2024; the van was not inspected.

Halden Tools (the "Lessor"), represented by its managing director, Petra Voss, and Brook Ltd (the
"Lessee"), represented by its owner, Samuel Brook.

6. Royalties. From the 5,001st copy the author receives 4.5 % of the net price.

7. Copies. The author receives twenty-two free copies.
"""


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("When does the lease begin?", ["1 June 2024"]),
        ("When does the lease end?", ["31 May 2026"]),
        ("What is the monthly rent for the crane?", ["EUR 1,480"]),
        ("how much is the late fee?", ["EUR 35"]),
        ("Who is the managing director of the Lessor?", ["Petra Voss"]),
        ("royalty percentage", ["4.5 %"]),
        ("number of free copies", ["twenty-two"]),
        ("What is the weekly rent for the crane?", []),
        ("When was the van last inspected?", []),
        ("When was the crane first inspected?", []),
        ("Who is the owner of the Lessor?", []),
        ("Who is the managing director of the Lessee?", []),
    ],
)
def test_a_value_is_given_to_what_it_stands_beside(write: Write, question: str, answers: list[str]) -> None:
    """The date, sum or name of another thing in the same sentence would pass for the one asked for."""
    assert told(question, write("lease.txt", LEASE)) == answers


MINUTES = """# Rowing club

Greta books the bus. The insurance costs EUR 960 a year, EUR 80 more than in 2023.
Last year 9 crews took part.
Present: Ann Lee (chair), Jonas K. (minutes)

## Licence

AGPL-3.0. Ask Birgit about commercial use.

## Museum

The lighthouse was built in 1871 and moved in 1934. Log in with the password `change-me`.

One of the secret numbers for the barn is: 4031.

- 400 g flour
- 2 eggs
"""


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("Who books the bus?", ["Greta"]),
        ("How much does the insurance cost?", ["EUR 960 a year"]),
        ("who took the minutes?", ["Jonas K"]),
        ("what license", ["AGPL-3.0"]),
        ("When was the lighthouse built?", ["1871"]),
        ("When was the lighthouse moved?", ["1934"]),
        ("how much flour?", ["400 g"]),
        ("how many eggs", ["2"]),
        ("initial password?", ["change-me"]),
        ("How many crews took part this year?", []),
        ("When was the museum built?", []),
        ("Who books the tents?", []),
        ("how much butter?", []),
        ("What is the secret number for the barn?", []),
    ],
)
def test_what_a_sentence_leaves_unsaid_is_above_it(write: Write, question: str, answers: list[str]) -> None:
    """A heading would not be read as what its section is about, or pass for the subject of any sentence."""
    assert told(question, write("minutes.md", MINUTES)) == answers


def test_a_line_of_a_log_tells_of_one_thing(write: Write) -> None:
    """The address that was banned, or the status of a service, would not be read out of its line."""
    log = write(
        "syslog.1",
        "May 21 06:20:55 pike systemd[1]: Started daily work.\n"
        "May 21 07:38:44 pike fail2ban.actions[733]: NOTICE [sshd] Ban 203.0.113.201\n"
        "May 21 07:49:06 pike systemd[1]: tide.service: Main process exited, code=exited, status=3/FAILED\n"
        "May 21 07:50:06 pike systemd[1]: moon.service: Main process exited, code=exited, status=9/KILLED\n",
    )
    assert told("which address did fail2ban ban", log) == ["203.0.113.201"]
    assert told("exit status of tide.service", log) == ["3/FAILED"]
    assert told("exit status of star.service", log) == []


def test_files_are_found_by_what_they_mention(write: Write) -> None:
    """Who asks which of the files speaks of something would get its words, but from any file."""
    menu, letter = write("menu.txt", "Known for its\nfish soup.\n"), write("letter.txt", "No fish here.\n")
    assert [
        str(one.source.span) for one in look_up("which of the files mentions fish soup", [menu, letter])
    ] == ["menu.txt:2"]


def test_a_number_that_is_nobodys_is_given_only_to_who_names_nobody(write: Write) -> None:
    """The number of a workshop would be given as that of a woman whom the question does not name."""
    letter = write("letter.txt", "Call the workshop, tel. 555 27 180. Ann knows the way.\n")
    assert told("tel?", letter) == ["555 27 180"]
    assert told("What is her phone number?", letter) == []


@pytest.mark.parametrize(
    ("question", "text", "answers"),
    [
        ("policy number", "SUMMARY OF COVER      Policy no. WF-20-188\n", ["WF-20-188"]),
        ("ringing licence no", "The birds were ringed under licence FR-34 of the prefecture.\n", ["FR-34"]),
        ("policy number", "There is no. Policy WF-20 was ended.\n", []),
        ("fishing licence no", "The birds were ringed under licence FR-34 of the prefecture.\n", []),
    ],
)
def test_a_number_behind_its_noun_is_found(
    write: Write, question: str, text: str, answers: list[str]
) -> None:
    """The numbers on letters and contracts, which people look for most, would not be found."""
    assert told(question, write("a.txt", text)) == answers


BRIDGE = """The bridge was rebuilt in stone by the Italian mason Pietro Bossi. In 1840 tolls rose.
In October 1902 Mr Hale, assistant to Captain Reeve, repaired the gates. Send the bill to Tine.
After probation the period of notice is eight weeks. Three boats were stolen since June, all of them here.

`setup` writes `/etc/dock/config.yaml` and asks for the secret.
"""


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("who rebuilt the bridge?", ["Pietro Bossi"]),
        ("Who repaired the gates?", []),
        ("To whom should the bill be sent?", []),
        ("how long is the probation period?", []),
        ("From where were the boats stolen?", []),
        ("Where can I find the secret?", []),
    ],
)
def test_what_only_stands_near_is_not_shown(write: Write, question: str, answers: list[str]) -> None:
    """An adjective, a verb, a path or a price of something else would be shown as the answer."""
    assert set(told(question, write("bridge.txt", BRIDGE))) <= set(answers)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (
            "how much water goes into it?",
            "- 740 ml warm water\n\nStir the starter into 400 ml of the water.\n",
        ),
        (
            "who restarted the scheduler?",
            "2024-06-18 05:02:19,390 INFO  scheduler restarted by operator kwame\n",
        ),
        ("how many weeks of leave?", "Ask for leave in the calendar at least three weeks ahead.\n"),
        ("how long are events kept?", "The events came in, and a timeout of 30 seconds ended them.\n"),
        ("what is the hirer's phone number?", "The Hirer tells the Owner of damage, under 01271 555 0148.\n"),
    ],
)
def test_a_part_a_level_or_somebody_else_is_not_shown(write: Write, question: str, text: str) -> None:
    """The amount of one step, a word of the log, or the number of the other party would be shown."""
    assert told(question, write("a.txt", text)) == []
