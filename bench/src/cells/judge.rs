//! What a comparison means for a target. Owns nothing.
//!
//! - Ottla is better or worse if the median ratio is beyond the band of its kind
//!   ([`super::plan::Kind::band`]) and beyond what the rounds differ by ([`crate::stats`]);
//!   otherwise equal.
//! - A target that asks for equality is met if Ottla is better, equal if it is that, and short if
//!   it is worse. Every other target is a number that the median reaches or doesn't: nobody gets
//!   the band as a present.

use serde_json::Value;

use super::plan::{Figure, Limit, Target};
use crate::stats::{Comparison, Round, compare};

/// Who is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Beyond the band.
    Better,
    /// Within it.
    Equal,
    /// Beyond it, on the other side.
    Worse,
}

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Reached.
    Met,
    /// It asks for equality, which is what was found.
    Equal,
    /// Not reached.
    Short,
    /// Nothing was asked for, or the limit to compare with was not measured.
    None,
}

/// A figure as it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The values.
    pub found: Comparison,
    /// Who is ahead.
    pub state: State,
    /// What became of the target.
    pub verdict: Verdict,
}

/// Judges the rounds of a figure; `None` if there are none.
pub fn judge(figure: &Figure, rounds: &[Round], limits: &Value) -> Option<Judged> {
    let found = compare(rounds)?;
    let state = state(&found, figure);
    let verdict = verdict(&found, state, figure, limits);
    Some(Judged { found, state, verdict })
}

fn state(found: &Comparison, figure: &Figure) -> State {
    let band = 1.0 + figure.kind.band();
    let inside = found.ratio <= band && found.ratio >= 1.0 / band;
    if inside || found.is_equal() {
        State::Equal
    } else if (found.ratio > 1.0) == figure.kind.more_is_better() {
        State::Better
    } else {
        State::Worse
    }
}

fn verdict(found: &Comparison, state: State, figure: &Figure, limits: &Value) -> Verdict {
    let reached = |value: f64, wanted: f64| {
        if figure.kind.more_is_better() { value >= wanted } else { value <= wanted }
    };
    let met = |met: bool| if met { Verdict::Met } else { Verdict::Short };
    let equal = match state {
        State::Better => Verdict::Met,
        State::Equal => Verdict::Equal,
        State::Worse => Verdict::Short,
    };
    match figure.target {
        Target::Told => Verdict::None,
        Target::Equal => equal,
        Target::Ratio(wanted) => met(reached(found.ratio, wanted)),
        Target::PlusSync => match sync_ms(limits) {
            Some(sync) => met(found.ours <= found.theirs + sync),
            None => Verdict::None,
        },
        Target::RatioOrLimit(wanted, times, at) => match least(limits, &at) {
            _ if reached(found.ratio, wanted) => Verdict::Met,
            Some(limit) if reached(found.ours, limit * times) => Verdict::Met,
            // A ratio of one asks for equality.
            _ if wanted == 1.0 => equal,
            Some(_) => Verdict::Short,
            None => Verdict::None,
        },
        Target::EqualAndLimit(times, at) => match least(limits, &at) {
            Some(limit) if reached(found.ours, limit * times) => equal,
            Some(_) => Verdict::Short,
            None => Verdict::None,
        },
    }
}

/// The target in words.
pub fn words(figure: &Figure, limits: &Value) -> String {
    let sign = if figure.kind.more_is_better() { "≥" } else { "≤" };
    let limit = |times: f64, limit: &Limit| {
        let times = if times == 1.0 { String::new() } else { format!("{times} × ") };
        let value = least(limits, limit);
        let value = value.map_or("not measured".to_owned(), super::table::short);
        format!("{sign} {times}{} ({value})", limit.words)
    };
    match figure.target {
        Target::Told => String::new(),
        Target::Equal => "equal".to_owned(),
        Target::Ratio(wanted) if wanted < 0.4 => format!("{sign} 1/{:.0}", 1.0 / wanted),
        Target::Ratio(wanted) => format!("{sign} {wanted}"),
        Target::PlusSync => {
            let sync = sync_ms(limits).map_or("not measured".to_owned(), super::table::short);
            format!("{sign} Apache's + a sync ({sync})")
        }
        Target::RatioOrLimit(wanted, times, at) => {
            let wanted = if wanted == 1.0 { "equal".into() } else { format!("{sign} {wanted}") };
            format!("{wanted} or {}", limit(times, &at))
        }
        Target::EqualAndLimit(times, at) => format!("equal and {}", limit(times, &at)),
    }
}

/// A typical sync, not a late one.
fn sync_ms(limits: &Value) -> Option<f64> {
    limits.pointer("/sync/p50")?.as_f64()
}

fn least(limits: &Value, limit: &Limit) -> Option<f64> {
    let found = limit.at.iter().map(|at| limits.pointer(at).and_then(Value::as_f64));
    found.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::plan::Kind;
    use serde_json::json;

    const LIMIT: Limit = Limit { words: "the bare loop", at: &["/a", "/b"] };

    fn judged(kind: Kind, target: Target, ours: f64, theirs: f64) -> (State, Verdict) {
        let figure = Figure { name: "", kind, arm: "", beside: "", target, floor: None };
        let rounds = [Round { ours: [ours; 2], theirs: [theirs; 2] }; 5];
        let limits = json!({ "sync": { "p50": 0.2 }, "a": 0.5, "b": 0.4 });
        let found = judge(&figure, &rounds, &limits).unwrap();
        (found.state, found.verdict)
    }

    #[test]
    fn within_the_band_of_its_kind_a_figure_is_equal() {
        let rate = |ours| judged(Kind::Rate, Target::Equal, ours, 100.0);
        assert_eq!(rate(114.0), (State::Equal, Verdict::Equal));
        assert_eq!(rate(116.0), (State::Better, Verdict::Met));
        assert_eq!(rate(86.0), (State::Worse, Verdict::Short));
        let cpu = |ours| judged(Kind::Cpu, Target::Equal, ours, 100.0);
        assert_eq!(cpu(124.0), (State::Equal, Verdict::Equal));
        assert_eq!(cpu(126.0), (State::Worse, Verdict::Short));
        assert_eq!(cpu(70.0), (State::Better, Verdict::Met));
        assert_eq!(judged(Kind::Request, Target::Equal, 129.0, 100.0).0, State::Equal);
    }

    #[test]
    fn number_is_reached_or_it_is_not() {
        let rate = |ours| judged(Kind::Rate, Target::Ratio(1.5), ours, 100.0).1;
        assert_eq!([rate(150.0), rate(149.0)], [Verdict::Met, Verdict::Short]);
        let cpu = |ours| judged(Kind::Cpu, Target::Ratio(0.5), ours, 100.0).1;
        assert_eq!([cpu(50.0), cpu(51.0)], [Verdict::Met, Verdict::Short]);
        let late = |ours| judged(Kind::Request, Target::PlusSync, ours, 1.0).1;
        assert_eq!([late(1.2), late(1.21)], [Verdict::Met, Verdict::Short]);
        assert_eq!(judged(Kind::Rate, Target::Told, 1.0, 100.0).1, Verdict::None);
    }

    #[test]
    fn limits_of_the_machine_stand_in_for_a_ratio_or_beside_equality() {
        let either = Target::RatioOrLimit(0.5, 1.2, LIMIT);
        let cpu = |target, ours, theirs| judged(Kind::Cpu, target, ours, theirs).1;
        assert_eq!(cpu(either, 0.48, 0.6), Verdict::Met, "the least limit by 1.2");
        assert_eq!(cpu(either, 0.49, 0.6), Verdict::Short);
        assert_eq!(cpu(either, 0.49, 1.0), Verdict::Met);
        let both = Target::EqualAndLimit(1.15, LIMIT);
        assert_eq!(cpu(both, 0.45, 0.3), Verdict::Short, "worse than the other");
        assert_eq!(cpu(both, 0.45, 0.4), Verdict::Equal);
        assert_eq!(cpu(both, 0.45, 1.0), Verdict::Met);
        assert_eq!(cpu(both, 0.47, 1.0), Verdict::Short, "beyond the limit");
        let rate = Target::RatioOrLimit(1.0, 1.0, Limit { words: "", at: &["/a"] });
        assert_eq!(judged(Kind::Rate, rate, 0.6, 9.0).1, Verdict::Met);
        assert_eq!(judged(Kind::Rate, rate, 0.4, 0.45).1, Verdict::Equal);
        assert_eq!(judged(Kind::Rate, rate, 0.4, 0.9).1, Verdict::Short);
    }

    #[test]
    fn target_without_its_limit_has_no_verdict() {
        let figure = Figure {
            name: "",
            kind: Kind::Request,
            arm: "",
            beside: "",
            target: Target::PlusSync,
            floor: None,
        };
        let rounds = [Round { ours: [1.0; 2], theirs: [1.0; 2] }; 2];
        let found = judge(&figure, &rounds, &Value::Null).unwrap();
        assert_eq!(found.verdict, Verdict::None);
        assert!(judge(&figure, &[], &Value::Null).is_none());
        assert!(words(&figure, &Value::Null).contains("not measured"));
    }
}
