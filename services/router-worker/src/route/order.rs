//! In which order an endpoint's destinations are tried.
//!
//! By priority, then as `routing` ranks them; what is equal in both is drawn by weight. The draw is a race: each destination
//! runs for `-ln(u) / weight`, the shortest time wins, and the others follow in the order of their times, as if each had been drawn from
//! those that are left (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006). If `u` is a hash of whoever
//! asks and of the destination instead of chance, the same caller gets the same order, and a change of one weight moves
//! only the callers that it must.

use ring::digest::{SHA256, digest};

/// What is known of a destination before it is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// The lowest go first.
    pub priority: u32,
    /// Its share among equals; 0 is for none.
    pub weight: u32,
    /// What `routing` goes by: the lowest go first. All the same for `weighted`.
    pub rank: f64,
}

/// Indexes of the candidates in the order in which they are tried. `draw` gives a number in 0.0..1.0 for an index.
///
/// Weights of zero all round mean nothing; else who has none is left out.
pub(crate) fn order(candidates: &[Candidate], draw: impl Fn(usize) -> f64) -> Vec<usize> {
    let is_weighted = candidates.iter().any(|candidate| candidate.weight > 0);
    let mut runners: Vec<(usize, f64)> = (0..candidates.len())
        .filter(|index| !is_weighted || candidates[*index].weight > 0)
        .map(|index| {
            (index, -draw(index).clamp(f64::MIN_POSITIVE, 1.0).ln() / f64::from(candidates[index].weight.max(1)))
        })
        .collect();
    runners.sort_by(|(a, time_a), (b, time_b)| {
        let (x, y) = (&candidates[*a], &candidates[*b]);
        x.priority.cmp(&y.priority).then(x.rank.total_cmp(&y.rank)).then(time_a.total_cmp(time_b))
    });
    runners.into_iter().map(|(index, _)| index).collect()
}

/// A draw that is always the same for a caller and a destination, in 0.0..1.0.
pub(crate) fn sticky(caller: &str, destination: &str) -> f64 {
    let hash = digest(&SHA256, format!("{}:{caller}{destination}", caller.len()).as_bytes());
    let mut bits = [0; 8];
    bits.copy_from_slice(&hash.as_ref()[..8]);
    // As many bits as a float holds exactly.
    (u64::from_be_bytes(bits) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        weights.iter().map(|weight| Candidate { priority: 0, weight: *weight, rank: 0.0 }).collect()
    }

    fn of_caller(weights: &[u32], caller: usize) -> Vec<usize> {
        order(&candidates(weights), |index| sticky(&format!("caller-{caller}"), &format!("d{index}")))
    }

    #[test]
    fn the_lowest_priority_then_the_lowest_rank_goes_first() {
        let all: Vec<Candidate> = [(1, 0.0), (0, 2.0), (0, 1.0), (0, f64::INFINITY)]
            .map(|(priority, rank)| Candidate { priority, weight: 1, rank })
            .to_vec();
        assert_eq!(order(&all, |_| 0.5), [2, 1, 3, 0]);
        assert_eq!(order(&[], |_| 0.5), [] as [usize; 0]);
    }

    #[test]
    fn traffic_is_split_by_weight_and_the_rest_follows() {
        let orders: Vec<Vec<usize>> = (0..4000).map(|caller| of_caller(&[90, 10, 0], caller)).collect();
        assert!(orders.iter().all(|order| order.len() == 2));
        let second = orders.iter().filter(|order| order[0] == 1).count();
        // 10 % of 4,000, and five standard deviations.
        assert!((305..495).contains(&second), "{second}");
        assert_eq!(of_caller(&[0, 0], 1).len(), 2);
    }

    #[test]
    fn who_stays_with_a_destination_leaves_it_only_for_one_that_gained() {
        let moves = |from: &[u32], to: &[u32]| {
            let mut moves: Vec<(usize, usize)> =
                (0..2000).map(|c| (of_caller(from, c)[0], of_caller(to, c)[0])).collect();
            moves.retain(|(before, after)| before != after);
            moves
        };
        assert!(moves(&[1, 1, 1], &[1, 1, 1]).is_empty());
        let gained = moves(&[90, 10, 20], &[90, 30, 20]);
        assert!(!gained.is_empty() && gained.iter().all(|(_, after)| *after == 1));
        let left = moves(&[1, 1, 1], &[1, 1, 0]);
        assert!(!left.is_empty() && left.iter().all(|(before, _)| *before == 2));
    }

    proptest! {
        #[test]
        fn everybody_who_may_have_a_turn_has_one(
            all in proptest::collection::vec((0..3u32, 0..5u32, 0..3u32), 0..6),
            draws in proptest::collection::vec(0.0..=1.0f64, 6),
        ) {
            let all: Vec<Candidate> = all
                .iter()
                .map(|(priority, weight, rank)| Candidate { priority: *priority, weight: *weight, rank: f64::from(*rank) })
                .collect();
            let order = order(&all, |index| draws[index]);
            let is_weighted = all.iter().any(|candidate| candidate.weight > 0);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            let expected: Vec<usize> =
                (0..all.len()).filter(|index| !is_weighted || all[*index].weight > 0).collect();
            prop_assert_eq!(sorted, expected);
            let key = |index: &usize| (all[*index].priority, all[*index].rank as u32);
            prop_assert!(order.is_sorted_by_key(key));
        }
    }
}
