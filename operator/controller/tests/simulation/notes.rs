//! The worlds of a run, noted at each call.

use std::sync::Mutex;

use crate::world::World;

/// The world at one moment of a scenario.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) world: World,
    /// The number of the phase.
    pub(crate) phase: usize,
    /// The number of the call that comes next, beginning at 0.
    pub(crate) call: usize,
    /// Whether a round starts, and not a call within it.
    pub(crate) starts: bool,
}

/// The moments of a run: where a round starts, and after each call that changed the world.
#[derive(Default)]
pub(crate) struct Notes {
    moments: Mutex<Vec<Moment>>,
    looks: Mutex<usize>,
}

impl Notes {
    /// Notes that a round starts.
    pub(crate) fn start(&self, phase: usize, world: &World) {
        let call = self.looks.lock().unwrap().div_ceil(2);
        self.moments.lock().unwrap().push(Moment {
            world: world.clone(),
            phase,
            call,
            starts: true,
        });
    }

    /// Looks at the world before or after the effect of a call, until the moments are taken.
    pub(crate) fn look(&self, world: &World) {
        let mut looks = self.looks.lock().unwrap();
        *looks += 1;
        let mut moments = self.moments.lock().unwrap();
        let Some(last) = moments.last() else { return };
        if last.world.version() != world.version() {
            let (phase, call) = (last.phase, looks.div_ceil(2));
            moments.push(Moment { world: world.clone(), phase, call, starts: false });
        }
    }

    /// All moments so far.
    pub(crate) fn taken(&self) -> Vec<Moment> {
        std::mem::take(&mut *self.moments.lock().unwrap())
    }
}
