"""Mail as programs export it: Thunderbird, Gmail's takeout, Outlook, Apple Mail. The words are our own."""

import base64
from pathlib import Path

import pytest
from test_formats import place
from trees import make, names, text

from longctx.errors import InputError
from longctx.text.source import gather

THUNDERBIRD = """\
From - Mon Nov 02 10:00:01 2026
X-Mozilla-Status: 0001
X-Mozilla-Status2: 00000000
X-Mozilla-Keys:
Message-ID: <1@example.org>
Date: Mon, 2 Nov 2026 10:00:00 +0100
MIME-Version: 1.0
User-Agent: Mozilla Thunderbird
Content-Language: en-GB
To: tomas@example.org
From: =?UTF-8?Q?=C3=85sa_Berg?= <asa@example.org>
Subject: Timetable
Content-Type: text/plain; charset=UTF-8; format=flowed
Content-Transfer-Encoding: 8bit

The ferry leaves from pier 4. Tomas wrote:

From Monday 10:30 on it leaves
from pier 7.
>From there it is a mile.

From - Mon Nov 02 11:00:01 2026
X-Mozilla-Status: 0001
Date: Mon, 2 Nov 2026 11:00:00 +0100
From: tomas@example.org
Subject:
 A folded subject
Content-Type: text/plain; charset=windows-1252
Content-Transfer-Encoding: quoted-printable

The fare is 12 =80.

"""

TAKEOUT = """\
From 1780000000000000001@xxx Mon Nov 02 10:00:00 +0000 2026
X-GM-THRID: 1780000000000000001
X-Gmail-Labels: =?UTF-8?Q?Inbox,Ge=C3=B6ffnet?=
Delivered-To: tomas@example.org
Received: by 2002:a05:6358:0 with SMTP id 1; Mon, 2 Nov 2026 02:00:00 -0800 (PST)
MIME-Version: 1.0
Date: Mon, 2 Nov 2026 11:00:00 +0100
Message-ID: <CA+1@mail.gmail.com>
Subject: =?UTF-8?B?RsOkcmphbnMg?= =?UTF-8?B?dGlkdGFiZWxs?=
From: Asa Berg <asa@example.org>
To: tomas@example.org
Content-Type: multipart/mixed; boundary="0000000000001"

--0000000000001
Content-Type: multipart/alternative; boundary="0000000000002"

--0000000000002
Content-Type: text/plain; charset="UTF-8"
Content-Transfer-Encoding: base64

{plain}
--0000000000002
Content-Type: text/html; charset="UTF-8"

<div dir=3D"ltr">In the page</div>

--0000000000002--
--0000000000001
Content-Type: text/csv; charset="US-ASCII"; name="fares.csv"
Content-Disposition: attachment; filename="fares.csv"
Content-Transfer-Encoding: base64
X-Attachment-Id: f_1

{csv}
--0000000000001--

From 1780000000000000002@xxx Tue Nov 03 10:00:00 +0000 2026
X-GM-THRID: 1780000000000000002
From: tomas@example.org
Subject: Re: Tidtabell
Content-Type: text/plain

Thank you.
"""

OUTLOOK = """\
From: "Berg, Åsa" <asa@example.org>
To: "tomas@example.org" <tomas@example.org>
CC:
Subject: RE: Fähre nach Skerry
Thread-Topic: =?iso-8859-1?Q?F=E4hre?=
Date: Mon, 2 Nov 2026 10:00:00 +0000
Message-ID:
\t<AM0PR01MB0001@AM0PR01MB0001.eurprd01.prod.example.com>
X-MS-Has-Attach: yes
X-MS_Odd.Name:1
MIME-Version: 1.0
Content-Type: multipart/related; boundary="_005_"; type="multipart/alternative"

--_005_
Content-Type: multipart/alternative; boundary="_000_"

--_000_
Content-Type: text/html; charset="iso-8859-1"
Content-Transfer-Encoding: quoted-printable

<html xmlns:o=3D"urn:schemas-microsoft-com:office:office"><head>
<style><!-- p.MsoNormal {margin:0cm} --></style></head>
<body lang=3D"DE"><p class=3D"MsoNormal">Die F=E4hre legt um 9 Uhr ab.<o:p></o:p></p>
<!--[if mso]><p>only for Word</p><![endif]-->
<p class=3D"MsoNormal"><img src=3D"cid:image001.png@01"></p></body></html>

--_000_--
--_005_
Content-Type: image/png; name="image001.png"
Content-ID: <image001.png@01>
Content-Transfer-Encoding: base64

iVBORw0KGgo=

--_005_--
"""

APPLE = """\
From: Asa Berg <asa@example.org>
Date: Mon, 2 Nov 2026 10:00:00 +0100
Message-Id: <1@example.org>
Mime-Version: 1.0 (Mac OS X Mail 16.0)
Subject: The contract
Content-Type: multipart/alternative; boundary="Apple-Mail=_1"

--Apple-Mail=_1
Content-Type: text/plain; charset=us-ascii

Here it is.
--Apple-Mail=_1
Content-Type: multipart/mixed; boundary="Apple-Mail=_2"

--Apple-Mail=_2
Content-Type: text/html; charset=us-ascii

<html><body>Here it is, as a page.</body></html>
--Apple-Mail=_2
Content-Disposition: inline; filename=contract.txt
Content-Type: text/plain; name="contract.txt"

The rent is 900 crowns.
--Apple-Mail=_2--
--Apple-Mail=_1--
"""


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def encoded(words: str) -> str:
    return base64.b64encode(words.encode()).decode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_mailbox_of_thunderbird(tmp_path: Path, line_end: str) -> None:
    """If this fails a folder of Thunderbird is split inside a mail, or read with its headers as text."""
    path = make(tmp_path, {"Inbox": THUNDERBIRD.replace("\n", line_end)}) / "Inbox"
    with gather([str(path)]) as corpus:
        (document,) = corpus.documents
        assert place(document, "From Monday 10:30 on") == "#message 1:8"
        assert "\nFrom there it is a mile." in text(document)
        assert place(document, "The fare is 12 €.") == "#message 2:5"
        assert "Subject: A folded subject\n" in text(document)
        assert text(document).startswith("From: Åsa Berg <asa@example.org>\n")
        assert "Mozilla" not in text(document)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_takeout_of_gmail(tmp_path: Path, line_end: str) -> None:
    """If this fails the mail that Google hands out is base64, and its attachments are lost."""
    box = TAKEOUT.format(
        plain=encoded("Färjan går klockan nio.\r\n"), csv=encoded("fare,price\r\nchild,6\r\n")
    )
    path = make(tmp_path, {"all.mbox": box.replace("\n", line_end)}) / "all.mbox"
    with gather([str(path)]) as corpus:
        assert names(corpus, tmp_path) == ["all.mbox", "all.mbox#message 1/fares.csv"]
        whole, table = corpus.documents
        assert place(whole, "Färjan går klockan nio.") == "#message 1:6"
        assert "Subject: Färjans tidtabell\n" in text(whole)
        assert "In the page" not in text(whole)
        assert "child,6" in text(table)
        assert place(whole, "Thank you.") == "#message 2:4"


@pytest.mark.parametrize("charset", ["utf-8", "cp1252"])
def test_a_message_saved_by_outlook(tmp_path: Path, charset: str) -> None:
    """If this fails an umlaut that stands in a header as it is becomes a question mark."""
    path = tmp_path / "mail.eml"
    path.write_bytes(OUTLOOK.replace("\n", "\r\n").encode(charset))
    with gather([str(path)]) as corpus:
        (document,) = corpus.documents
        assert document.kind == "eml"
        assert 'From: "Berg, Åsa" <asa@example.org>\n' in text(document)
        assert "Subject: RE: Fähre nach Skerry\n" in text(document)
        assert text(document).endswith("\n\nDie Fähre legt um 9 Uhr ab.\n")
        assert corpus.notes == [f"{path}: left out 1 style sheet, 2 pictures"]


def test_a_draft_is_mail_by_its_name(tmp_path: Path) -> None:
    """If this fails a draft without a date is read with its headers, and its words in base64."""
    draft = f"Subject: Fares\nContent-Transfer-Encoding: base64\n\n{encoded('A child pays 6.')}\n"
    make(tmp_path, {"a.eml": draft, "b.txt": "Subject: a poem\n\nRoses are red.\n"})
    with gather([str(tmp_path)]) as corpus:
        assert [text(one) for one in corpus.documents] == [
            "Subject: Fares\n\nA child pays 6.\n",
            "Subject: a poem\n\nRoses are red.\n",
        ]


def test_what_apple_mail_attaches_to_an_alternative(tmp_path: Path) -> None:
    """If this fails a contract is not read because it hangs on the page, and the plain text is taken."""
    path = make(tmp_path, {"mail.eml": APPLE}) / "mail.eml"
    with gather([str(path)]) as corpus:
        assert names(corpus, tmp_path) == ["mail.eml", "mail.eml/contract.txt"]
        assert text(corpus.documents[0]).endswith("Subject: The contract\n\nHere it is.\n")
        assert "900 crowns" in text(corpus.documents[1])


def test_one_bad_message_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a mailbox of years ends at the first message that a spammer nested a thousand deep."""
    deep = "".join(f"Content-Type: multipart/mixed; boundary={level}\n\n--{level}\n" for level in range(3000))
    large = "x" * 3000
    box = "".join(
        f"From a Mon Nov 02 10:00:00 2026\nFrom: a@example.org\nSubject: {name}\n{body}\n\n"
        for name, body in (("one", "\nfirst"), ("two", deep), ("three", f"\n{large}"), ("four", "\nlast"))
    )
    monkeypatch.setattr("longctx.formats.mail.LARGEST", len(deep) + 2000)
    path = make(tmp_path, {"a.mbox": box}) / "a.mbox"
    with gather([str(path)]) as corpus:
        (document,) = corpus.documents
        assert place(document, "last") == "#message 4:4"
        assert "[a message nested too deep]" in text(document)
        assert corpus.notes == [f"{path}: left out 1 message, whole or in part"]


@pytest.mark.parametrize(
    ("head", "kind", "advice"),
    [
        (OLE + bytes(600) + "__substg1.0_0037".encode("utf-16-le"), "an Outlook message", ".eml"),
        (b"!BDN" + bytes(600), "an Outlook data file", "readpst"),
    ],
    ids=["msg", "pst"],
)
def test_what_outlook_keeps_for_itself_is_named(tmp_path: Path, head: bytes, kind: str, advice: str) -> None:
    """If this fails whoever drops a .msg file here is told to save it as a table."""
    path = tmp_path / "mail"
    path.write_bytes(head)
    with pytest.raises(InputError, match=kind) as caught:
        gather([str(path)])
    assert advice in str(caught.value)
