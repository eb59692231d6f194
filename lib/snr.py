"""Signal-to-noise ratio of the gradients over a training epoch (appendix F.1.1, Fig. 8)."""

import torch

from .shapes import Float, Tensor


class SignalToNoise:
    """Running sums over the gradients of an epoch, in double precision: memory of three gradients, not of hundreds.

    Of each weight the mean and the unbiased standard deviation of its gradient are taken over the epoch's mini-batches,
    before clipping; the weights move meanwhile, and nothing corrects for that.
    """

    def __init__(self, size: int, device: torch.device):
        # The sums are of deviations from the first gradient: what never changes has a deviation of exactly zero.
        self.first, self.sum, self.squares = torch.zeros(3, size, dtype=torch.float64, device=device)
        self.count = 0

    def add(self, gradient: Float[Tensor, " P"]) -> None:
        """The gradient of one mini-batch."""
        if self.count == 0:
            self.first.copy_(gradient)
            self.sum.zero_()
            self.squares.zero_()
        deviation = gradient - self.first
        self.sum += deviation
        self.squares.addcmul_(deviation, deviation)
        self.count += 1

    def end_epoch(self, encoder: int) -> dict[str, float]:
        """{"snr_phi", "snr_theta"} of the epoch, of the first `encoder` weights and of the others; starts a new one.

        SNR = sum_i |mean_i / sd_i| over the weights with a finite ratio: units that are dead, whose ratio is 0/0, do
        not count. Empty for fewer than two gradients.
        """
        count, self.count = self.count, 0
        if count < 2:
            return {}
        mean = self.sum / count  # of the deviations
        variance = (self.squares - count * mean.square()) / (count - 1)
        ratio = ((self.first + mean) / variance.clamp_min(0).sqrt()).abs()
        ratio = torch.where(ratio.isfinite(), ratio, 0.0)
        return {"snr_phi": float(ratio[:encoder].sum()), "snr_theta": float(ratio[encoder:].sum())}

    def state(self) -> dict:
        """What a checkpoint keeps, so that an epoch that was interrupted ends with the same numbers."""
        return {"count": self.count, "sums": [t.clone() for t in (self.first, self.sum, self.squares)]}

    def resume(self, state: dict) -> None:
        self.count = state["count"]
        for own, kept in zip((self.first, self.sum, self.squares), state["sums"], strict=True):
            own.copy_(kept)
