//! One room: document, awareness and roster. Pure but for yrs.

pub mod awareness;
mod object;
pub mod stamp;
