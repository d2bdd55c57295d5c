//! The plan in a small model of the world: golden scripts, and random events. A checker judges each
//! step.

mod checker;
mod late;
mod planted;
mod property;
mod run;
mod script;
mod world;
