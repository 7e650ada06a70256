"""Memory that requests share."""

import asyncio

import pytest

from trainer.serving.limits import AsyncBudget, Refused


def test_no_more_than_the_total_is_held() -> None:
    held: list[int] = []

    async def use(budget: AsyncBudget, amount: int) -> None:
        async with budget.hold(amount, 60):
            held.append(budget.held)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def run() -> AsyncBudget:
        budget = AsyncBudget(10)
        await asyncio.gather(*(use(budget, amount) for amount in (4, 5, 6, 3, 25, 1, 10)))
        return budget

    budget = asyncio.run(run())
    assert len(held) == 7
    assert max(one for one in held if one != 25) <= 10
    assert 25 in held  # alone
    assert (budget.held, budget.waiters) == (0, set())


def test_waiting_ends() -> None:
    async def run() -> None:
        budget = AsyncBudget(10)
        async with budget.hold(10, 60):
            with pytest.raises(Refused) as refused:
                async with budget.hold(1, 0.01):
                    raise AssertionError
            assert refused.value.status == 503
            assert refused.value.retry_s
        async with budget.hold(10, 0.01):  # what was given back is there
            assert not budget.waiters

    asyncio.run(run())
