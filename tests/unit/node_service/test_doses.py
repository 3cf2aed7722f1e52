"""What became of a dose is known to a node that comes back."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.messages import ContractError, Error, ErrorCode
from node_service.doses import KEPT, Doses, KeptDose, told_again
from node_service.gateway_models import DoseAnswer

BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
ANSWER = DoseAnswer(requested_ml=0.2, delivered_ml=0.2, seconds=1.5)
STRUCK = Error(
    code=ErrorCode.INTERLOCK, message="full", hint="empty it", details={"delivered_ml": 0.1}
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "doses.json"


async def earlier(file: Path, id_: str) -> KeptDose:
    dose = (await Doses.load(file)).earlier(id_)
    assert dose is not None
    return dose


async def test_the_answer_is_given_again(file: Path) -> None:
    doses = await Doses.load(file)
    await doses.begin("a", "media", 0.2, BEGUN)
    await doses.end("a", answer=ANSWER)
    assert doses.earlier("a") is None  # this process knows it otherwise
    dose = await earlier(file, "a")
    assert (dose.channel, dose.ml, dose.ended) == ("media", 0.2, True)
    assert told_again(dose) == ANSWER


async def test_what_struck_on_the_way_is_told_again(file: Path) -> None:
    doses = await Doses.load(file)
    await doses.begin("a", "media", 0.2, BEGUN)
    await doses.end("a", error=STRUCK)
    with pytest.raises(ContractError) as told:
        told_again(await earlier(file, "a"))
    assert told.value.error == STRUCK


async def test_a_dose_that_was_under_way_is_told_as_one_however_often_it_is_asked(
    file: Path,
) -> None:
    doses = await Doses.load(file)
    await doses.begin("a", "media", 0.2, BEGUN)
    for _ in range(3):  # the node comes back, and gives another one
        doses = await Doses.load(file)
        await doses.begin("b", "media", 0.3, BEGUN)
        await doses.end("b", answer=ANSWER)
        with pytest.raises(ContractError) as told:
            told_again(await earlier(file, "a"))
        assert told.value.error.code is ErrorCode.OUTPUTS_RESET
        assert told.value.error.details == {"requested_ml": 0.2, "delivered_ml": 0.2}


async def test_a_dose_that_was_refused_is_none(file: Path) -> None:
    doses = await Doses.load(file)
    await doses.end("a", error=STRUCK)
    assert (await Doses.load(file)).earlier("a") is None


async def test_the_memory_is_bounded_and_forgets_the_oldest(file: Path) -> None:
    doses = await Doses.load(file)
    await doses.begin("under-way", "media", 0.2, BEGUN)
    for n in range(KEPT + 2):
        await doses.begin(str(n), "media", 0.2, BEGUN)
        await doses.end(str(n), answer=ANSWER)
    again = await Doses.load(file)
    known = [n for n in range(KEPT + 2) if again.earlier(str(n))]
    assert known == list(range(2, KEPT + 2))
    assert again.earlier("under-way")


@pytest.mark.parametrize("content", ['[{"id": ', None])
async def test_a_file_that_cannot_be_read_or_written_stops_no_dose(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "doses.json"
    if content is None:
        await asyncio.to_thread(file.mkdir)
    else:
        await asyncio.to_thread(file.write_text, content)
    doses = await Doses.load(file)
    await doses.begin("a", "media", 0.2, BEGUN)
    await doses.end("a", answer=ANSWER)
    assert bool((await Doses.load(file)).earlier("a")) == (content is not None)
