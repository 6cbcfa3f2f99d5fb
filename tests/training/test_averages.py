"""The mean of what was learned: in place while it is asked for, and what it was before, after."""

import torch

from recsys.training.averages import Averages


def test_the_mean_stands_in_place_and_then_what_was_there_before() -> None:
    table = torch.tensor([1.0, 2.0])
    averages = Averages({"table": table})
    with averages.in_place():
        assert table.tolist() == [1, 2]  # none was taken
    averages.add()
    table.copy_(torch.tensor([4.0, 4.0]))
    averages.add()
    table.copy_(torch.tensor([9.0, 9.0]))
    with averages.in_place():
        assert table.tolist() == [2.5, 3]
    assert table.tolist() == [9, 9]


def test_its_state_is_all_that_it_remembers() -> None:
    first, second = torch.tensor([1.0, 5.0]), torch.tensor([1.0, 5.0])
    one, other = Averages({"table": first}), Averages({"table": second})
    one.add()
    for name, kept in other.state("mean").items():
        kept.copy_(one.state("mean")[name])
    for table, averages in ((first, one), (second, other)):
        table += 1
        averages.add()
    with one.in_place(), other.in_place():
        assert first.tolist() == second.tolist() == [1.5, 5.5]
