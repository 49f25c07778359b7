"""Documents that the benches write."""

from hypothesis import given
from hypothesis import strategies as st

from bench.documents import DocumentWriter, edits, first_documents, whole_words

WORDS = [f"w{a}{b}rd" for a in "abcdefgh" for b in "abcdefgh"]
WRITER = DocumentWriter(WORDS, seed=1)


@given(st.text(min_size=1, max_size=20), st.integers(0, 5))
def test_the_same_revision_is_always_the_same_text(document_id: str, revision: int) -> None:
    assert WRITER.write(document_id, revision) == DocumentWriter(WORDS, 1).write(
        document_id, revision
    )


def test_revisions_and_documents_differ_and_questions_quote_them() -> None:
    texts = {WRITER.write(f"d{i}", revision).text for i in range(20) for revision in range(3)}
    assert len(texts) == 60
    made = WRITER.write("d1", 2)
    question = WRITER.question("d1", 2)
    assert question.startswith(made.title)
    assert question.removeprefix(made.title).strip() in made.text


def test_words_are_whole_and_plain() -> None:
    found = whole_words(["[PAD]", "##ing", "the", "house", "Haus", "naïve", "2010", "river"])
    assert found == ["house", "river"]


def test_one_document_in_a_hundred_changes_in_every_way() -> None:
    found = edits(WRITER, 1000, seed=3)
    assert len(found.upserts) + len(found.deletions) == 10
    before = {each.id: each for each in first_documents(WRITER, 1000)}
    edited = [each for each in found.upserts if each.id in before]
    assert edited
    assert all(each.text != before[each.id].text for each in edited)
    assert [each for each in found.upserts if each.id not in before]
    assert set(found.deletions) <= set(before)
    assert not set(found.deletions) & {each.id for each in found.upserts}
