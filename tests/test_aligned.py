"""Tables whose columns are aligned with spaces, as commands print them."""

import pytest
from documents import Write

from longctx.quotes.exact.look_up import look_up

PS = """USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND
root           1  0.0  0.1 168120 12044 ?        Ss   Mar04   0:11 /sbin/init
root          20  0.0    1      0     0 ?        S    Mar04   0:11 [cpuhp/1]
redis        804  0.6  1.1  71440 46220 ?        Ssl  Mar05  22:08 /usr/bin/redis-server 127.0.0.1:6379
maya        3391  0.2  0.9 48112999 36900 pts/0  S+   10:17   0:03 vim notes.md
"""
DF = """Filesystem      Size  Used Avail Use% Mounted on
udev            7.8G     0  7.8G   0% /dev
/dev/nvme0n1p2   98G   71G   22G  77% /
/dev/sdb1       1.8T  412G  1.3T  24% /srv/backup
"""
PODS = """NAME                      READY   STATUS             RESTARTS       AGE
api-7c9d8b6f5-x2lqk       2/2     Running            0              6d4h
billing-worker-58f4c      0/1     CrashLoopBackOff   47 (2m ago)    3h51m
gateway-0                 1/1     Running            0              41d
"""
DOCKER = """CONTAINER ID   IMAGE          COMMAND                  CREATED       STATUS       PORTS      NAMES
3f1d2a9b7c55   redis:7.2      "docker-entrypoint.s…"   2 hours ago   Up 2 hours   6379/tcp   cache
9a8b7c6d5e44   caddy:2.8      "caddy run"              5 days ago    Up 5 days    443/tcp    web
"""
PRICES = """  Item                   Unit        Price
  ----------------------------------------
  Hand puppet, plain     each        65.00
  Course, weekend        per person  175.00
"""


@pytest.mark.parametrize(
    ("table", "question", "answers"),
    [
        (PS, "what is the PID of redis-server?", ["804"]),
        (PS, "%MEM of redis", ["1.1"]),
        (PS, "Which command does maya run?", ["vim notes.md"]),
        (PS, "since when has vim been running?", ["10:17"]),
        (PS, "which command has PID 1?", ["/sbin/init"]),
        (PS, "what is the PID of sshd?", []),
        (DF, "size of /dev/sdb1?", ["1.8T"]),
        (DF, "Use% of /srv/backup", ["24%"]),
        (DF, "where is sdb1 mounted?", ["/srv/backup"]),
        (DF, "size of /dev/sdc1?", []),
        (PODS, "what is the status of the billing-worker?", ["CrashLoopBackOff"]),
        (PODS, "How many restarts does the billing-worker have?", ["47 (2m ago)"]),
        (PODS, "age of gateway-0", ["41d"]),
        (PODS, "what is the status of the search pod?", []),
        (DOCKER, "image of cache?", ["redis:7.2"]),
        (DOCKER, "status of web", ["Up 5 days"]),
        (PRICES, "what does a weekend course cost?", ["175.00"]),
        (PRICES, "what does a plain course cost?", []),
    ],
)
def test_a_cell_is_found_in_what_a_command_prints(
    write: Write, table: str, question: str, answers: list[str]
) -> None:
    """`ps aux | longctx ask` would show nothing, or a cell of another row or column."""
    assert [one.text for one in look_up(question, [write("out.txt", table)])] == answers


@pytest.mark.parametrize(
    "text",
    [
        "The  quick brown fox  jumps over\nthe lazy dog  and runs  away from\nthe  other  animals there\n",
        "Dear Ann,  thank you  for the letter.\nIt came  on Monday  at noon, and I read it.\n",
    ],
)
def test_spread_prose_is_no_table(write: Write, text: str) -> None:
    """Words that stand below each other in a justified text would be shown as a cell."""
    assert look_up("what is the quick of dog?", [write("prose.txt", text)]) == []
    assert look_up("what is the letter of Monday?", [write("prose.txt", text)]) == []
