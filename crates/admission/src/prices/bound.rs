//! The most that a call could cost, before it is made.

use super::{Called, PER, Price, PriceBook, SCALE, Tokens};
use rust_decimal::Decimal;

/// One place a request may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callable {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The provider's name in the built-in list.
    pub kind: String,
    /// The model at the provider.
    pub model: String,
    /// The kind costs nothing.
    pub free: bool,
}

impl PriceBook {
    /// US dollars that one call with so many tokens costs at most, wherever of `all` it is made and whatever service tier it
    /// asks for: the whole prompt at the dearest of the input and cache-write prices. `None` if one of them has no price.
    ///
    /// `date` is `YYYY-MM-DD`, UTC.
    pub fn bound(&self, all: &[Callable], input: u64, output: u64, date: &str) -> Option<Decimal> {
        let mut dearest = Decimal::ZERO;
        for callable in all {
            dearest = dearest.max(self.bound_of(callable, input, output, date)?);
        }
        Some(dearest)
    }

    fn bound_of(&self, callable: &Callable, input: u64, output: u64, date: &str) -> Option<Decimal> {
        let Callable { provider, kind, model, free } = callable;
        let rows = self.tables(provider, kind);
        let rows = rows.iter().filter_map(|(rows, name)| rows.get(*name)?.get(model)).flatten();
        let tiers = std::iter::once(None).chain(rows.map(|row| row.service_tier.as_deref()).filter(Option::is_some));
        let tokens = Tokens { input, output, ..Tokens::default() };
        let mut dearest = None;
        for service_tier in tiers {
            let call = Called { provider, kind, model, free: *free, service_tier, date };
            match self.find(&call, &tokens) {
                Some(price) => dearest = dearest.max(Some(price.bound(input, output)?)),
                // A tier's row may not apply to this call; that the ordinary tier has none is what counts.
                None if service_tier.is_none() && !free => return None,
                None => {}
            }
        }
        dearest.or(free.then_some(Decimal::ZERO))
    }
}

impl Price {
    fn bound(&self, input: u64, output: u64) -> Option<Decimal> {
        if self.is_by_call() {
            return self.per_call.map(|usd| usd.round_dp(SCALE));
        }
        let prompt = [self.cache_write, self.cache_write_1h, self.cache_read].into_iter().flatten();
        let prompt = prompt.fold(self.input?, Decimal::max);
        let tokens = (Decimal::from(input) * prompt + Decimal::from(output) * self.output?) / PER;
        Some((self.per_call.unwrap_or_default() + tokens).round_dp(SCALE))
    }
}
