"""What a clause names, what is layout, and what is a slip of the pen."""

from __future__ import annotations

import pytest

from parity.redline.words import Values, only_slips, plain, subject_of, values_of, vocabulary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Work**  MUST\n end `now`.", "Work MUST end now"),
        ("“Work” isn’t ‘it’ ; ", "\"Work\" isn't 'it'"),
        ("a\u00a0b.;.", "a b"),
        (".a;b", ".a;b"),
        ("As long as X.", "As long as X"),
    ],
)
def test_plain_text_has_no_layout(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("A `bundle` of weights MUST end.", "A bundle of weights"),
        ("A backend SHOULD NOT write what another MUST read.", "A backend"),
        ("A MUSTARD seed MAY grow.", "A MUSTARD seed"),
    ],
)
def test_the_subject_stands_before_the_first_level(text, subject):
    assert subject_of(text) == subject


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "It MUST raise `ValueError` or KeyError,  not ErrorOfMine.",
            Values(("ValueError", "KeyError"), (), (), (), (), "It raise ¤ or ¤ , not ErrorOfMine"),
        ),
        (
            "With `--no-check-it`, --x and a--b it SHOULD NOT run.",
            Values((), ("--no-check-it", "--x"), (), (), (), "With ¤ , ¤ and a--b it run"),
        ),
        (
            "It MUST hold `a/b.h5`, wts.h5.zip, *.json and a.txt.",
            Values(
                (), (), ("a/b.h5", "wts.h5.zip", "*.json"), (), (), "It hold ¤ , ¤ , ¤ and a.txt"
            ),
        ),
        (
            "**wts.h5** MUST be in */part-1.keras or a/*.dill.",
            Values((), (), ("wts.h5", "*/part-1.keras", "a/*.dill"), (), (), "¤ be in ¤ or ¤"),
        ),
        (
            "It MUST say 'two words' or ”one” 3 times, -1.5e-6 and v2 to 4.6.1 (§5), ½ too.",
            Values(
                (),
                (),
                (),
                ("'two words'", '"one"', "3", "-1.5e-6", "4.6.1", "½"),
                (),
                "It say ¤ or ¤ ¤ times, ¤ and v2 to ¤ (§5), ¤ too",
            ),
        ),
        (
            "`a.b` MUST be `7`, ` ` or `f(x)` in `'q'`.",
            Values((), (), (), ("'q'", "7"), ("a.b", "f(x)"), "¤ be ¤ , ¤ or ¤ in ¤"),
        ),
        ("`X` MUST be.", Values((), (), (), (), ("X",), "¤ be")),
        ("Ptychography MUST\n work.", Values((), (), (), (), (), "Ptychography work")),
    ],
)
def test_a_clause_is_taken_apart_into_what_it_names_and_the_rest(text, expected):
    assert values_of(text) == expected


def test_words_are_counted_whatever_their_case_and_hyphened_ones_as_one():
    counted = vocabulary(["The probe, the PROBE", "sub-pixel the 3 it's"])
    assert counted == {"the": 3, "probe": 2, "sub-pixel": 1, "it": 1, "s": 1}


#: Words that are written elsewhere.
KNOWN = {"temporary": 2, "scans": 1, "positions": 3, "object": 1, "masks": 1, "files": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("no temporary file", "no temporay file"),  # left out
        ("no temporary file", "no temporrary file"),  # added
        ("no temporary file", "no tempurary file"),  # replaced
        ("no temporary file", "no temporayr file"),  # swapped
        ("all positions", "all postiions"),
        ("one object", "one objcet"),
        ("some masks", "some msaks"),
        ("some (Temporary), file", "some (temporary), file"),
        ("a file", "an file"),
        ("In time", "in time"),
        ("some Xenon here", "some xenon here"),
        ("`a`  file.", "a file"),
        ("no Temporary file", "no temporay file"),
        ("all positions of a temporary object", "all postions of an temporay object"),
    ],
)
def test_a_misspelt_word_is_a_slip_either_way(old, new):
    assert only_slips(old, new, KNOWN)
    assert only_slips(new, old, KNOWN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("no temporary file", "no temporary"),  # a word fewer
        ("no temporary file", "no tempoary fil"),  # the second is no slip
        ("no temporary file", "one temporay file"),  # the first is none
        ("no temporary file", "no tempray file"),  # two letters
        ("all positions", "all poistionss"),
        ("one object", "one abject"),  # another first letter
        ("all scans", "all scan"),  # a number
        ("all positions", "all position"),
        ("the masks", "the mask"),
        ("all positions", "all positives"),
        ("some files", "some piles"),
        ("some files", "some fles"),  # too short
        ("some fils", "some fles"),
        ("no object", "no OBJECT"),  # capitals of levels and symbols mean something
        ("no OBJECT", "no object"),
        ("no Object", "no oBject"),
        ("no ObjectGuess", "no Objectguess"),
        ("N pixels", "n pixels"),
        ("unheard of", "unhaerd of"),  # neither is known
        ("temporary files", "temporary, files"),  # a comma
        ("(temporary) files", "[temporary] files"),
        ("temporary3 files", "temporry3 files"),  # no words
        ("3 files", "4 files"),
        (", files", ". files"),
        ("temporary file", "temporary/file"),
    ],
)
def test_another_word_number_or_sign_is_no_slip(old, new):
    assert not only_slips(old, new, KNOWN)
    assert not only_slips(new, old, KNOWN)


def test_of_two_words_that_are_both_written_elsewhere_neither_is_misspelt():
    assert not only_slips("no stored file", "no sorted file", {"stored": 1, "sorted": 1})
    assert only_slips("no stored file", "no strored file", {"stored": 1, "sorted": 1})


@pytest.mark.parametrize("ending", ["s", "d", "r", "y", "n"])
def test_an_ending_changes_the_meaning_of_a_word(ending):
    known = {"probe": 1}
    assert not only_slips("one probe here", f"one probe{ending} here", known)
    assert only_slips("one probe here", "one probek here", known)
