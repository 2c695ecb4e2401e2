//! Patterns of digits as deterministic automatons: one look at each digit says of every beginning whether it matches. The plans of
//! telephone numbers are such patterns, and a text may be full of digits that nearly are of a plan.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use std::collections::HashMap;

/// A state from which nothing matches, and the one before the first digit.
const DEAD: u16 = 0;
const START: u16 = 1;

/// A pattern, anchored at both ends.
#[derive(Debug)]
pub(super) struct Automaton {
    /// By state and digit: the next state.
    next: Vec<[u16; 10]>,
    is_match: Vec<bool>,
    /// By state: bit n, if some n digits lead from it to a match.
    ahead: Vec<u32>,
}

impl Automaton {
    /// `None` if the pattern cannot be read, has anything but digits, alternatives and bounded repetitions, or needs 2¹⁶ states.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        // digits are ASCII here, and the patterns are wrapped over lines
        let mut parser = ParserBuilder::new().ignore_whitespace(true).unicode(false).utf8(false).build();
        let mut nodes = Nodes { nodes: vec![Node::Match], ends: vec![vec![MATCH]], known: HashMap::new() };
        let first = nodes.before(&parser.parse(pattern).ok()?, MATCH)?;
        let mut made = Self { next: vec![[DEAD; 10]], is_match: vec![false], ahead: Vec::new() };
        // by the nodes that it stands for
        let mut states = HashMap::from([(Vec::new(), DEAD)]);
        let mut open = Vec::new();
        made.state(nodes.closed([first]), &mut states, &mut open)?;
        while let Some((state, set)) = open.pop() {
            for digit in 0..10 {
                let reached = set.iter().filter_map(|node| nodes.after(*node, digit));
                let next = made.state(nodes.closed(reached), &mut states, &mut open)?;
                made.next[usize::from(state)][digit] = next;
            }
        }
        made.look_ahead();
        Some(made)
    }

    /// What is ahead of a state is known when that of its next ones is: no pattern leads back to one.
    fn look_ahead(&mut self) {
        self.ahead = self.is_match.iter().map(|is_match| u32::from(*is_match)).collect();
        loop {
            let of = |next: &[u16; 10]| next.iter().fold(0, |all, next| all | self.ahead[usize::from(*next)] << 1);
            let ahead = self.next.iter().zip(&self.ahead).map(|(next, known)| known | of(next)).collect::<Vec<_>>();
            if ahead == self.ahead {
                return;
            }
            self.ahead = ahead;
        }
    }

    /// The state of a set of nodes; a new one is put among those whose digits are still open.
    fn state(
        &mut self,
        set: Vec<u32>,
        states: &mut HashMap<Vec<u32>, u16>,
        open: &mut Vec<(u16, Vec<u32>)>,
    ) -> Option<u16> {
        if let Some(state) = states.get(&set) {
            return Some(*state);
        }
        let state = u16::try_from(self.next.len()).ok()?;
        self.next.push([DEAD; 10]);
        self.is_match.push(set.contains(&MATCH));
        states.insert(set.clone(), state);
        open.push((state, set));
        Some(state)
    }

    /// Bit n, if some n digits match that begin with these. Takes values, not characters.
    pub(super) fn possible(&self, digits: &[u8]) -> u32 {
        let reached = |state: u16, digit: &u8| self.next[usize::from(state)][usize::from(*digit)];
        self.ahead[usize::from(digits.iter().fold(START, reached))] << digits.len()
    }

    /// Bit n, if the first n digits match. Takes values, not characters; looks at 31 at most.
    pub(super) fn lengths(&self, digits: &[u8]) -> u32 {
        let (mut state, mut lengths) = (START, 0);
        for (before, digit) in digits.iter().take(31).enumerate() {
            state = self.next[usize::from(state)][usize::from(*digit)];
            if state == DEAD {
                break;
            }
            lengths |= u32::from(self.is_match[usize::from(state)]) << (before + 1);
        }
        lengths
    }
}

/// The node at which a pattern has matched.
const MATCH: u32 = 0;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    Match,
    /// Goes on to a node with each digit whose bit is set.
    Digit(u16, u32),
    /// Goes on to any of these without a digit.
    Either(Vec<u32>),
}

/// An automaton that is in several nodes at once. What two alternatives end with is there once.
struct Nodes {
    nodes: Vec<Node>,
    /// By node: where it leads without a digit, itself if it does not; in order.
    ends: Vec<Vec<u32>>,
    known: HashMap<Node, u32>,
}

impl Nodes {
    fn node(&mut self, node: Node) -> Option<u32> {
        let new = u32::try_from(self.nodes.len()).ok()?;
        let at = *self.known.entry(node.clone()).or_insert(new);
        if at == new {
            let ends = if let Node::Either(others) = &node { self.closed(others.iter().copied()) } else { vec![new] };
            self.nodes.push(node);
            self.ends.push(ends);
        }
        Some(at)
    }

    /// The node that leads through a part of a pattern to `next`.
    fn before(&mut self, part: &Hir, next: u32) -> Option<u32> {
        match part.kind() {
            HirKind::Empty => Some(next),
            HirKind::Literal(digits) => {
                digits.0.iter().rev().try_fold(next, |next, digit| self.node(Node::Digit(bits(*digit, *digit), next)))
            }
            HirKind::Class(Class::Bytes(class)) => {
                let digits = class.iter().fold(0, |all, range| all | bits(range.start(), range.end()));
                self.node(Node::Digit(digits, next))
            }
            HirKind::Repetition(of) => {
                let optional = of.max?.checked_sub(of.min)?;
                let mut first = next;
                for _ in 0..optional {
                    let once = self.before(&of.sub, first)?;
                    first = self.node(Node::Either(vec![once, next]))?;
                }
                (0..of.min).try_fold(first, |first, _| self.before(&of.sub, first))
            }
            HirKind::Capture(of) => self.before(&of.sub, next),
            HirKind::Concat(parts) => parts.iter().rev().try_fold(next, |next, part| self.before(part, next)),
            HirKind::Alternation(parts) => {
                let nodes = parts.iter().map(|part| self.before(part, next)).collect::<Option<Vec<_>>>()?;
                self.node(Node::Either(nodes))
            }
            HirKind::Class(Class::Unicode(_)) | HirKind::Look(_) => None,
        }
    }

    /// Where a digit leads from a node.
    fn after(&self, node: u32, digit: usize) -> Option<u32> {
        match self.nodes.get(node as usize)? {
            Node::Digit(digits, next) if digits & (1 << digit) != 0 => Some(*next),
            _ => None,
        }
    }

    /// All nodes that are reached from these without a digit, but for those that only lead to others; in order.
    fn closed(&self, nodes: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut reached = nodes.into_iter().collect::<Vec<_>>();
        reached.sort_unstable();
        reached.dedup();
        let mut closed = reached.iter().flat_map(|node| self.ends[*node as usize].iter().copied()).collect::<Vec<_>>();
        closed.sort_unstable();
        closed.dedup();
        closed
    }
}

/// A bit for each digit from one byte to another.
fn bits(from: u8, to: u8) -> u16 {
    (b'0'..=b'9').filter(|byte| (from..=to).contains(byte)).fold(0, |bits, byte| bits | 1 << (byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    const PATTERNS: &[&str] = &[
        "",
        "12",
        r"(?:1(?:2|34?)|[5-7]\d?)\d{2}",
        r"7(?:
            [1-3]\d{2,4}|
            4{3}
        )",
        r"(?:80[0-24]|0?1{2,3})(\d?){3}",
    ];

    #[test]
    fn what_is_no_pattern_of_digits_is_none() {
        for pattern in ["1*", "1+", "^1", "1$", r"1\b", "(", "1{3,}"] {
            assert!(Automaton::new(pattern).is_none(), "{pattern}");
        }
        assert!(Automaton::new("").is_some_and(|empty| empty.lengths(&[1]) == 0));
    }

    #[test]
    fn what_may_follow_is_known() {
        let automaton = Automaton::new("1(?:2{1,3}|34)|5").expect("fine");
        for (digits, possible) in [(&[][..], 0b1_1110), (&[1], 0b1_1100), (&[1, 3], 0b1000), (&[5], 0b10), (&[2], 0)] {
            assert_eq!(automaton.possible(digits), possible, "{digits:?}");
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_expression_matches(digits in "[0-47-8]{1,12}") {
            let values = digits.bytes().map(|digit| digit - b'0').collect::<Vec<_>>();
            for pattern in PATTERNS {
                let expression = Regex::new(&format!("(?x)^(?:{pattern})$")).expect("fine");
                let automaton = Automaton::new(pattern).expect("fine");
                let lengths = automaton.lengths(&values);
                prop_assert_eq!(automaton.possible(&values[..1]) & lengths, lengths);
                for n in 1..=digits.len() {
                    prop_assert_eq!(lengths & (1 << n) != 0, expression.is_match(&digits[..n]), "{} {}", pattern, n);
                }
            }
        }
    }
}
