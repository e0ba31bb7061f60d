"""Pieces of the vocabulary that mean about the same: synonyms, other forms, translations. Training swaps some of them."""

import torch
from torch.nn import functional as F

# How many of the nearest pieces take part, how near they must lie, and what shorter pieces than `SHORTEST` never do.
MOST, NEAR, SHORTEST = 10, 0.45, 3


class Neighbours:
    """For each piece those whose rows of the table point the same way; a piece that has fewer is its own neighbour."""

    def __init__(self, tok, table):
        rows = F.normalize(table - table.mean(0), dim=1)
        pieces = [tok.id_to_token(i) for i in range(len(rows))]
        fit = torch.tensor([len(x) >= SHORTEST and x.isalpha() for x in pieces], device=table.device)
        own = torch.arange(len(rows), device=table.device)
        found = []
        for at in range(0, len(rows), 1024):
            near, which = (rows[at : at + 1024] @ rows.T).topk(MOST + 1, dim=1)
            here = own[at : at + 1024].unsqueeze(1)
            found.append(torch.where((near > NEAR) & fit[which] & fit[here], which, here))
        self.of = torch.cat(found).to(torch.int32)

    def swapped(self, ids):
        """Rows of ids, two in five of them with up to a third of their pieces swapped."""
        rate = torch.rand(len(ids), 1, device=ids.device)
        rate = (rate - 0.6).clamp(min=0) * 0.8
        some = torch.rand(ids.shape, device=ids.device) < rate
        which = torch.randint(0, self.of.shape[1], ids.shape, device=ids.device)
        return torch.where(some, self.of[ids.long(), which], ids.to(torch.int32))
