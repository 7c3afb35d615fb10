//! Secrets come as options or, out of sight of other users, as variables.

use crate::failure::Failure;

/// A secret, and where it comes from.
pub(crate) struct Secret {
    /// The option or the variable.
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

impl Secret {
    /// The option's value, else the variable's. An empty variable is none.
    pub(crate) fn given(
        option: &'static str,
        value: Option<&str>,
        variable: &'static str,
    ) -> Result<Option<Self>, Failure> {
        if let Some(value) = value {
            return Ok(Some(Self { name: option, value: value.into() }));
        }
        match std::env::var(variable) {
            Ok(value) if value.trim().is_empty() => Ok(None),
            Ok(value) => Ok(Some(Self { name: variable, value })),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(variable, "it is not UTF-8; set it anew")),
        }
    }
}
