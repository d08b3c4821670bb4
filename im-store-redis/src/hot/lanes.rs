//! Lanes: conversations are spread over them, and each is one slot of a Redis Cluster. A script may
//! be about several lanes where one server has them all.

use im_core::model::ConversationId;
use redis::Script;

use crate::link::Call;

/// The most lanes of which one call looks at everything: others of the server wait meanwhile.
const LANES_PER_CALL: usize = 16;

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    /// What each one's keys begin with.
    names: Vec<String>,
    is_cluster: bool,
}

/// What one call is about.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The lanes that it names.
    lanes: Vec<usize>,
    /// The items, and the place of each one's lane among those, from 1.
    pub(super) items: Vec<(usize, usize)>,
    weight: usize,
}

impl Lanes {
    pub(super) fn new(prefix: &str, count: u16, is_cluster: bool) -> Self {
        let name = |lane| format!("{{{prefix}-hot-{lane}}}");
        Self {
            names: (0..count).map(name).collect(),
            is_cluster,
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.names.len()
    }

    /// Which lane a log has: FNV-1a, the same for every node and version.
    fn of(&self, conv: &ConversationId) -> usize {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = conv.as_str().as_bytes().iter();
        let hash = hash.fold(0xcbf2_9ce4_8422_2325, step);
        (hash % self.names.len() as u64) as usize
    }

    /// A call about one log.
    pub(super) fn call<'a>(&self, script: &'a Script, conv: &ConversationId) -> Call<'a> {
        Call::new(script, &[&self.names[self.of(conv)]])
    }

    /// A call about nothing.
    pub(super) fn call_any<'a>(&self, script: &'a Script) -> Call<'a> {
        Call::new(script, &[&self.names[0]])
    }

    /// Calls about all there is.
    pub(super) fn calls<'a>(&self, script: &'a Script) -> impl Iterator<Item = Call<'a>> {
        let many = if self.is_cluster { 1 } else { LANES_PER_CALL };
        self.names.chunks(many).map(move |lanes| {
            let lanes: Vec<_> = lanes.iter().map(String::as_str).collect();
            Call::new(script, &lanes)
        })
    }

    /// Items about logs, each with its weight, as few calls can be about them, of which each weighs
    /// no more than `most` unless it is about one.
    pub(super) fn parts<'a>(
        &self,
        items: impl Iterator<Item = (&'a ConversationId, usize)>,
        most: usize,
    ) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        // Where the last part is of those that can't be one.
        let mut last = vec![None; if self.is_cluster { self.names.len() } else { 1 }];
        for (item, (conv, weight)) in items.enumerate() {
            let lane = self.of(conv);
            let last = &mut last[if self.is_cluster { lane } else { 0 }];
            let fits = last.filter(|at: &usize| parts[*at].weight + weight <= most);
            let at = fits.unwrap_or_else(|| {
                parts.push(Part::default());
                parts.len() - 1
            });
            *last = Some(at);
            parts[at].push(item, lane, weight);
        }
        parts
    }
}

impl Part {
    fn push(&mut self, item: usize, lane: usize, weight: usize) {
        let place = self.lanes.iter().position(|it| *it == lane);
        let place = place.unwrap_or_else(|| {
            self.lanes.push(lane);
            self.lanes.len() - 1
        });
        self.items.push((item, place + 1));
        self.weight += weight;
    }

    pub(super) fn call<'a>(&self, script: &'a Script, lanes: &Lanes) -> Call<'a> {
        let names: Vec<_> = self.lanes.iter().map(|at| &*lanes.names[*at]).collect();
        Call::new(script, &names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(is_cluster: bool, weights: &[usize]) -> Vec<Vec<usize>> {
        let lanes = Lanes::new("im", 4, is_cluster);
        let conv = |at| ConversationId::new(format!("c{}", at % 4)).unwrap();
        let convs: Vec<_> = (0..weights.len()).map(conv).collect();
        let parts = lanes.parts(convs.iter().zip(weights.iter().copied()), 10);
        for part in &parts {
            for (item, place) in &part.items {
                assert_eq!(part.lanes[place - 1], lanes.of(&convs[*item]));
            }
            assert!(!is_cluster || part.lanes.len() == 1);
        }
        let items = |part: &Part| part.items.iter().map(|(item, _)| *item).collect();
        parts.iter().map(items).collect()
    }

    #[test]
    fn calls_are_few_and_none_is_too_heavy() {
        assert_eq!(
            parts(false, &[4, 4, 3, 20, 1]),
            [vec![0, 1], vec![2], vec![3], vec![4]]
        );
        assert_eq!(parts(false, &[1; 8]), [vec![0, 1, 2, 3, 4, 5, 6, 7]]);
        assert!(parts(false, &[]).is_empty());
    }

    #[test]
    fn on_a_cluster_each_lane_has_its_own() {
        let found = parts(true, &[1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(found.iter().all(|part| part.len() > 1), "{found:?}");
        let mut all: Vec<_> = found.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
