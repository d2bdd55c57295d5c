//! Tests of the file's size.

use super::*;
use crate::db::image::Image;

/// Bytes by which the file may exceed its bound. The bound is twice the most bytes in use so far,
/// and three times these bytes from the first image on. Some pages of the file are not full, and
/// pages that a flush replaces become free only later.
const BESIDE: u64 = 12 << 20;

#[derive(Clone, Debug)]
enum Work {
    /// Overwrites a share of the keys.
    Write(u8, u16),
    Delete(u8),
    Compact,
    Flush,
    Defragment,
    /// Takes an image for another member. The image keeps the pages of its commit until the next
    /// step is done.
    Send,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        8 => (any::<u8>(), 100u16..1200).prop_map(|(share, size)| Work::Write(share, size)),
        1 => any::<u8>().prop_map(Work::Delete),
        3 => Just(Work::Compact),
        4 => Just(Work::Flush),
        1 => Just(Work::Defragment),
        1 => Just(Work::Send),
    ]
}

fn do_work(machine: &mut Machine, work: &Work) -> Option<Image> {
    let keys = |share: &u8| u16::from(*share) * 12;
    match work {
        Work::Write(share, size) => fill(machine, keys(share) / 4, keys(share) + 1, *size),
        Work::Delete(share) => delete(machine, keys(share) / 3, keys(share)),
        Work::Compact => {
            let revision = machine.store.shared().revision();
            if revision > machine.compacted {
                let compaction = CompactionRequest { revision, physical: true };
                machine.apply(&Command::Compact(compaction));
            }
            machine.flush();
        }
        Work::Flush => machine.flush(),
        Work::Defragment => wait(|done| machine.engine().defragment(done)),
        Work::Send => return Some(machine.engine().image()),
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn stays_under_twice_what_was_in_use(steps in prop::collection::vec(work(), 20..60)) {
        let mut machine = Machine::new();
        fill(&mut machine, 0, 10, 10);
        let mut most = 0;
        let mut sent = None;
        let mut was_sent = false;
        for step in &steps {
            // The test keeps an image until the next step is done.
            let image = do_work(&mut machine, step);
            was_sent = was_sent || image.is_some();
            drop(std::mem::replace(&mut sent, image));
            let sizes = machine.engine().sizes();
            most = most.max(sizes.in_use);
            let times = if was_sent { 3 } else { 2 };
            prop_assert!(sizes.allocated <= times * most + BESIDE, "{:?}, {} in use", sizes, most);
        }
    }
}
