//! What the staff does, and what nobody else can.

mod audit;
mod cost;
mod groups;
mod keys;
mod messages;
mod reports;
mod roles;
mod users;
mod words;
