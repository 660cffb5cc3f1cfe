import torch

from scalesweep.train.model.products import Cast, Product, copies_in, matrix_of


def test_matrices_cast_at_once_are_those_that_autocast_casts() -> None:
    """To the bit, and their gradients."""
    x, matrices = torch.randn(4, 8), [torch.randn(6, 8, requires_grad=True), torch.randn(3, 6, requires_grad=True)]
    with torch.autocast("cpu", torch.bfloat16):
        expected = x @ matrices[0].T @ matrices[1].T
    of = torch.autograd.grad(expected.float().square().sum(), matrices)
    with torch.autocast("cpu", torch.bfloat16):
        first, second = Cast.apply(torch.bfloat16, *matrices)
        found = x @ first.T @ second.T
    assert torch.equal(found, expected)
    for gradient, other in zip(torch.autograd.grad(found.float().square().sum(), matrices), of, strict=True):
        assert torch.equal(gradient, other)


def test_parts_of_one_matrix_are_cast_at_once_and_to_the_bit() -> None:
    """As the matrices of a pack lie, whichever of the parts are asked for, beside others that lie alone."""
    whole, alone = torch.randn(3, 50), torch.randn(3, 2, 5)
    parts = [whole[:, 8:20].view(3, 4, 3), whole[:, 20:40].view(3, 2, 10), whole[:, :8].view(3, 2, 4)]
    found = matrix_of(parts)
    assert found is not None
    assert torch.equal(found, whole[:, :40])
    assert matrix_of(parts[::2]) is not None
    assert matrix_of(parts[1:]) is None, "what lies between them is none of them"
    assert matrix_of([parts[0].transpose(1, 2), parts[1]]) is None
    for given in (parts, parts[1:], [*parts, alone], [alone]):
        copies = copies_in(torch.bfloat16, given)
        assert all(torch.equal(copy, part.to(torch.bfloat16)) for copy, part in zip(copies, given, strict=True))
    assert len({copy.untyped_storage().data_ptr() for copy in copies_in(torch.bfloat16, [*parts, alone])}) == 2


def test_matrices_of_a_pack_have_the_gradients_of_matrices_that_lie_alone() -> None:
    def derivatives(parts: list[torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, second = Cast.apply(torch.bfloat16, *parts)
        y = Product.apply(Product.apply(x.to(torch.bfloat16), first), second)
        return torch.autograd.grad(y.float().square().sum(), [*parts, x])

    whole, x = torch.randn(3, 50), torch.randn(3, 7, 3, requires_grad=True)
    views = [whole[:, :12].view(3, 4, 3).requires_grad_(), whole[:, 12:20].view(3, 2, 4).requires_grad_()]
    alone = [view.detach().clone().requires_grad_() for view in views]
    found, expected = derivatives(views, x), derivatives(alone, x)
    assert all(torch.equal(mine, other) for mine, other in zip(found, expected, strict=True))
    assert all(gradient.is_contiguous() for gradient in found)


def test_a_product_has_the_values_and_gradients_of_torchs_own() -> None:
    x, w = torch.randn(3, 7, 5, requires_grad=True), torch.randn(3, 4, 5, requires_grad=True)
    weights = torch.randn(3, 7, 4)
    found, expected = Product.apply(x, w), torch.bmm(x, w.transpose(1, 2))
    torch.testing.assert_close(found, expected)
    mine, other = (torch.autograd.grad((y * weights).sum(), [x, w]) for y in (found, expected))
    torch.testing.assert_close(mine, other)
    assert mine[1].is_contiguous()
    assert not other[1].is_contiguous()
