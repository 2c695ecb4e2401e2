//! Tests that cross modules: fixtures through the leaves, and whole requests against a provider on the loopback.

mod away;
mod cached;
mod dialects;
mod embeddings;
mod fake;
mod fixtures;
mod generate;
mod handover;
mod held;
mod limited;
mod overrides;
mod owner;
mod presets;
mod reasoning;
mod requests;
mod responses;
mod restore;
mod resume;
mod routing;
mod shadow;
mod text_completions;
mod waiting;

pub(crate) use requests::ask;
