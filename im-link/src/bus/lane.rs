//! Lanes of a bus: where a broker has a few numbered places instead of a name for each node.

use im_core::port::To;

/// The lane of what is sent to all.
pub const ALL: u32 = 0;

/// The lane of `to` among so many: [`ALL`], or another one by a hash of the node's id, the same on
/// every machine and in every version (FNV-1a). With one lane, everything is in it.
#[must_use]
pub fn lane_of(to: &To, lanes: u32) -> u32 {
    let (To::Node(node), 2..) = (to, lanes) else {
        return ALL;
    };
    let mut hash = 0x811C_9DC5_u32;
    for byte in node.as_str().bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    ALL + 1 + hash % (lanes - 1)
}

#[cfg(test)]
mod tests {
    use im_core::model::NodeId;

    use super::*;

    #[test]
    fn a_node_has_its_lane_for_ever() {
        let of = |id: &str, lanes| lane_of(&To::Node(NodeId::new(id).unwrap()), lanes);
        // What stands here must stay: nodes of two versions must agree.
        assert_eq!([of("n1", 8), of("n2", 8), of("n3", 8)], [4, 5, 7]);
        for n in 0..1000 {
            let id = n.to_string();
            assert!((1..8).contains(&of(&id, 8)));
            assert_eq!((of(&id, 2), of(&id, 1), of(&id, 0)), (1, ALL, ALL));
        }
        assert_eq!(lane_of(&To::All, 8), ALL);
    }
}
