"""The whole corpus held against a bill that is made of it, where it is at hand: nothing drifts, nothing is lost."""

from __future__ import annotations

import pytest
from tests.corpus.test_corpus_ledger import first, rows, world  # noqa: F401
from tests.corpus.test_corpus_totals import CORPUS

from tallygate.core.bills.lines import Bucket, Gap
from tallygate.core.statements import BilledTokens, BillLine, Grain
from tallygate.operations.bills.keep import Draft, delete_bill, keep_bill
from tallygate.operations.bills.keys import ModelNames
from tallygate.operations.bills.review import ReviewWanted, review

pytestmark = pytest.mark.skipif(not (CORPUS / "expected_claude.json").exists(), reason="the corpus is not here")


@pytest.fixture(params=[True, False], ids=["by request", "by day"])
def found(request, world, first):  # noqa: F811
    names = ModelNames(world.rt.workspace.prices)
    with world.ledger.reading() as reader:
        stored = list(reader.usage_between(-(2**62), 2**62))
    lines = [line(number, each, names, named=request.param) for number, each in enumerate(stored, 1)]
    kept = keep_bill(world.rt, Draft("generic", "corpus", f"{int(request.param):064d}", "USD", lines)).bill
    yield review(world.rt, ReviewWanted())
    delete_bill(world.rt, kept.bill_id)


def line(number, stored, names, *, named):
    row, tokens = stored.row, stored.row.tokens
    key, _ = names.recorded(row.model)
    return BillLine(
        number=number,
        grain=Grain.REQUEST,
        at=row.at,
        provider=key.provider or "unknown",
        identity=(str(number),),
        model=row.model or "unknown",
        tokens=BilledTokens(
            tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m + tokens.cache_write_1h, tokens.output
        ),
        cost_nanos=stored.cost_nanos,
        request_id=row.response_key if named else None,
    )


def test_every_token_of_the_corpus_is_matched(found, rows):  # noqa: F811
    [matched] = found.buckets
    assert matched.bucket is Bucket.MATCHED
    assert matched.tokens == sum(row.tokens.total for row in rows)
    assert matched.recorded_nanos == matched.billed_nanos == found.total.recorded_nanos
    assert {gap.gap for gap in found.gaps} <= {Gap.PARTIAL, Gap.ASSUMED}
    assert found.factors() == {}
