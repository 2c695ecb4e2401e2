//! Finding things of a configuration by name without copying them: their positions, sorted.

/// Positions in a list, by name.
pub(crate) struct Index(Vec<u32>);

impl Index {
    /// `name` gives the name at a position below `len`. Of several of one name the first is found.
    pub(crate) fn of<'a>(len: usize, name: impl Fn(usize) -> &'a str) -> Self {
        let mut positions: Vec<u32> = (0..u32::try_from(len).unwrap_or(u32::MAX)).collect();
        positions.sort_by_key(|at| name(*at as usize));
        Self(positions)
    }

    /// Where the wanted one is. `name` as at the start.
    pub(crate) fn find<'a>(&self, wanted: &str, name: impl Fn(usize) -> &'a str) -> Option<usize> {
        let first = self.0.partition_point(|at| name(*at as usize) < wanted);
        self.0.get(first).map(|at| *at as usize).filter(|at| name(*at) == wanted)
    }
}
