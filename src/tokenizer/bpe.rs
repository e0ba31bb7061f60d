//! Byte-pair merging: the lowest rank first, the leftmost among equals, in O(n log n) whatever the piece.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::TokenId;
use super::vocab::Vocab;

/// Above this many bytes a heap finds the next merge; below it a scan of the list is faster.
const SCAN_LIMIT: usize = 96;

/// The rank of a pair that does not merge.
const NEVER: u32 = u32::MAX;

/// Reused between pieces, so that a text costs a handful of allocations.
#[derive(Default)]
pub(super) struct Scratch {
    parts: Vec<Part>,
    links: Vec<Link>,
}

/// A token that stands, and what it would become with its right neighbour.
#[derive(Clone, Copy)]
struct Part {
    start: u32,
    id: TokenId,
    rank: u32,
    merged: TokenId,
}

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// Appends the ids of `piece` to `out`. `piece` is shorter than 2^32 bytes.
pub(super) fn merge(vocab: &Vocab, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
    let parts = &mut scratch.parts;
    parts.clear();
    parts.extend(piece.iter().zip(0..).map(|(&byte, start)| Part {
        start,
        id: vocab.byte_id(byte),
        rank: NEVER,
        merged: 0,
    }));
    for at in 0..parts.len().saturating_sub(1) {
        weigh(vocab, piece, parts, at, at + 1, at + 2);
    }
    if piece.len() <= SCAN_LIMIT {
        merge_by_scan(vocab, piece, parts);
        out.extend(parts.iter().map(|part| part.id));
    } else {
        merge_by_heap(vocab, piece, parts, &mut scratch.links);
        let mut at = 0;
        while let (Some(part), Some(link)) = (parts.get(at), scratch.links.get(at)) {
            out.push(part.id);
            at = link.next as usize;
        }
    }
}

/// Writes into `parts[at]` what it becomes with `parts[right]`, whose own right neighbour is `after` (or past the end).
fn weigh(vocab: &Vocab, piece: &[u8], parts: &mut [Part], at: usize, right: usize, after: usize) {
    let end = parts.get(after).map_or(piece.len(), |part| part.start as usize);
    let middle = parts.get(right).map(|part| part.start as usize);
    let Some(part) = parts.get_mut(at) else { return };
    let start = part.start as usize;
    let span = piece.get(start..end).unwrap_or_default();
    let merge = middle.and_then(|middle| vocab.merge_of(span, middle - start));
    (part.rank, part.merged) = merge.unwrap_or((NEVER, 0));
}

fn merge_by_scan(vocab: &Vocab, piece: &[u8], parts: &mut Vec<Part>) {
    while let Some((at, best)) = parts.iter().enumerate().min_by_key(|(_, part)| part.rank)
        && best.rank != NEVER
    {
        let merged = best.merged;
        if let Some(part) = parts.get_mut(at) {
            part.id = merged;
        }
        parts.remove(at + 1);
        weigh(vocab, piece, parts, at, at + 1, at + 2);
        if at > 0 {
            weigh(vocab, piece, parts, at - 1, at, at + 1);
        }
    }
}

/// Candidates are taken in ascending order of rank, then place, out of a sorted batch. What a merge makes possible
/// waits for the next batch, or goes on a heap when something of this batch comes later: of a million equal pairs none
/// sees the heap.
fn merge_by_heap(vocab: &Vocab, piece: &[u8], parts: &mut [Part], links: &mut Vec<Link>) {
    let end = parts.len() as u32;
    links.clear();
    links.extend((0..end).map(|at| Link { previous: at.wrapping_sub(1), next: at + 1 }));
    let entry = |rank: u32, at: usize| u64::from(rank) << 32 | at as u64;
    let split = |entry: u64| ((entry >> 32) as u32, (entry & 0xffff_ffff) as usize);
    let mut pending: Vec<u64> = parts.iter().enumerate().map(|(at, part)| entry(part.rank, at)).collect();
    let (mut batch, mut heap) = (Vec::new(), BinaryHeap::new());
    loop {
        // An entry is stale when its part was swallowed or has since met another neighbour.
        let live = |rank: u32, part: &Part| rank != NEVER && part.rank == rank;
        pending.retain(|&entry| {
            let (rank, at) = split(entry);
            parts.get(at).is_some_and(|part| live(rank, part))
        });
        pending.sort_unstable();
        let Some(&last) = pending.last() else { break };
        batch.clear();
        std::mem::swap(&mut batch, &mut pending);
        let mut sorted = batch.iter().copied().peekable();
        loop {
            let top = match (sorted.peek(), heap.peek()) {
                (Some(next), Some(&Reverse(new))) if new < *next => heap.pop().map(|Reverse(new)| new),
                (None, _) => heap.pop().map(|Reverse(new)| new),
                _ => sorted.next(),
            };
            let Some((rank, at)) = top.map(split) else { break };
            if !parts.get(at).is_some_and(|part| live(rank, part)) {
                continue;
            }
            let previous = join(vocab, piece, parts, links, at);
            for changed in [at, previous] {
                if let Some(part) = parts.get(changed).filter(|part| part.rank != NEVER) {
                    let new = entry(part.rank, changed);
                    if new > last { pending.push(new) } else { heap.push(Reverse(new)) }
                }
            }
        }
    }
}

/// Merges the part at `at` with its right neighbour, weighs what changed, and says where its left neighbour is.
fn join(vocab: &Vocab, piece: &[u8], parts: &mut [Part], links: &mut [Link], at: usize) -> usize {
    let end = parts.len() as u32;
    let Some(&Link { previous, next: right }) = links.get(at) else { return parts.len() };
    if let Some(part) = parts.get_mut(at) {
        part.id = part.merged;
    }
    if let Some(swallowed) = parts.get_mut(right as usize) {
        swallowed.rank = NEVER;
    }
    let after = links.get(right as usize).map_or(end, |link| link.next);
    if let Some(link) = links.get_mut(at) {
        link.next = after;
    }
    if let Some(link) = links.get_mut(after as usize) {
        link.previous = at as u32;
    }
    let beyond = links.get(after as usize).map_or(end, |link| link.next);
    weigh(vocab, piece, parts, at, after as usize, beyond as usize);
    weigh(vocab, piece, parts, previous as usize, at, after as usize);
    previous as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::small_llama4;

    #[test]
    fn heap_and_scan_agree() {
        let tokenizer = small_llama4();
        let vocab = tokenizer.vocab();
        let mut state = 7_u32;
        for length in [1, 2, 3, 31, 96, 97, 400, 1500] {
            for alphabet in [b"ab".as_slice(), b"the rin", b"aAeE\xe2\x80\x99 "] {
                let piece: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        alphabet[(state >> 16) as usize % alphabet.len()]
                    })
                    .collect();
                let mut parts: Vec<Part> = piece
                    .iter()
                    .zip(0..)
                    .map(|(&byte, start)| Part { start, id: vocab.byte_id(byte), rank: NEVER, merged: 0 })
                    .collect();
                for at in 0..parts.len() - 1 {
                    weigh(vocab, &piece, &mut parts, at, at + 1, at + 2);
                }
                let (mut scanned, mut heaped, mut links) = (parts.clone(), parts, Vec::new());
                merge_by_scan(vocab, &piece, &mut scanned);
                merge_by_heap(vocab, &piece, &mut heaped, &mut links);
                let (mut by_heap, mut at) = (Vec::new(), 0);
                while at < heaped.len() {
                    by_heap.push(heaped[at].id);
                    at = links[at].next as usize;
                }
                let by_scan: Vec<_> = scanned.iter().map(|part| part.id).collect();
                assert_eq!(by_scan, by_heap, "{piece:?}");
            }
        }
    }
}
