"""Makes ``radiology.txt``, the vocabulary of untrained models, from our own word lists.

Run it from this folder: ``python make.py``. The lists are ``words_*.txt``: one group a
line, words separated by spaces. A mark after a word asks for its other forms:
``/s`` plural, ``/v`` verb (-s, -ed, -ing), ``/y`` adverb (-ly). ``pieces.txt`` holds word
starts and, with ``##``, word ends, from which WordPiece builds words that are not listed.
"""

import string
from pathlib import Path

HERE = Path(__file__).parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]"]
VOWELS = "aeiou"


def plural(word: str) -> str:
    """Give the regular plural."""
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "ch", "sh", "z")):
        return word + "es"
    return word + "s"


def verb(word: str) -> list[str]:
    """Give the third person, the past and the participle of a regular verb."""
    if word.endswith("e"):
        return [word + "s", word + "d", word[:-1] + "ing"]
    if word.endswith("y") and word[-2] not in VOWELS:
        return [word[:-1] + "ies", word[:-1] + "ied", word + "ing"]
    return [plural(word), word + "ed", word + "ing"]


def adverb(word: str) -> str:
    """Give the adverb of an adjective."""
    if word.endswith("ic"):
        return word + "ally"
    if word.endswith("le"):
        return word[:-1] + "y"
    if word.endswith("y"):
        return word[:-1] + "ily"
    return word + "ly"


def forms(entry: str) -> list[str]:
    """Give a word and the forms that its marks ask for."""
    word, *marks = entry.split("/")
    found = [word]
    for mark in marks:
        if mark == "s":
            found.append(plural(word))
        elif mark == "v":
            found.extend(verb(word))
        elif mark == "y":
            found.append(adverb(word))
        else:
            message = f"{entry}: unknown mark {mark!r}"
            raise ValueError(message)
    return found


def main() -> None:
    """Write the vocabulary: special tokens, characters, word ends, words."""
    printable = [c for c in string.printable if not c.isspace() and not c.isupper()]
    alphanumeric = [c for c in printable if c.isalnum()]
    vocabulary = dict.fromkeys(SPECIAL + printable + ["##" + c for c in alphanumeric])
    vocabulary.update(dict.fromkeys(str(n) for n in range(10, 100)))
    vocabulary.update(dict.fromkeys(f"##{n}" for n in range(10, 100)))
    for path in [HERE / "pieces.txt", *sorted(HERE.glob("words_*.txt"))]:
        for line in path.read_text().splitlines():
            if line.startswith("# "):
                continue
            for entry in line.split():
                vocabulary.update(dict.fromkeys(forms(entry)))
    for piece in vocabulary:
        if piece not in SPECIAL and (piece != piece.lower() or not piece.isascii()):
            message = f"{piece}: not lower-case ASCII"
            raise ValueError(message)
    (HERE / "radiology.txt").write_text("\n".join(vocabulary) + "\n")


if __name__ == "__main__":
    main()
