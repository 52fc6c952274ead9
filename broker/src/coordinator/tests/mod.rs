//! Scenarios and properties of the group coordinator.
