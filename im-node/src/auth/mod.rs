//! Who is it: JSON Web Tokens.

mod algorithm;
mod claims;
mod jwt;

pub use algorithm::JwtAlgorithm;
pub use jwt::{JwtAuthenticator, JwtError};
