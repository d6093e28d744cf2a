//! Why a token or ticket is refused: constants, so that audit, answers and tests speak of the same things.

/// Why a token or ticket is refused. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum TokenRefusal {
    /// It is too long, or not three parts of base64url that hold JSON objects.
    Malformed,
    /// Its header has a member that we do not emit, twice, or of another type.
    HeaderNotOurs,
    /// Its header names no key of ours.
    KeyUnknown,
    /// Its header names another algorithm than the one that its key is for.
    AlgorithmRefused,
    /// A claim is there twice.
    ClaimDuplicate,
    /// A claim is there that we do not emit.
    ClaimUnknown,
    /// A claim is missing.
    ClaimMissing,
    /// A claim has another type, or a value that we would not emit.
    ClaimMalformed,
    /// The same content in another spelling than ours.
    NotCanonical,
    /// Another issuer's.
    IssuerUnknown,
    /// For another audience.
    AudienceMismatch,
    /// It lives longer than anything that we issue.
    LifetimeTooLong,
    /// The signature does not fit.
    SignatureInvalid,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// A revocation matches it.
    Revoked,
    /// It is bound to another instance than the one that presents it.
    InstanceMismatch,
    /// Its instance has a newer generation.
    GenerationStale,
}

impl TokenRefusal {
    /// Every refusal; docs/tokens.md lists them.
    pub const ALL: [Self; 18] = [
        Self::Malformed,
        Self::HeaderNotOurs,
        Self::KeyUnknown,
        Self::AlgorithmRefused,
        Self::ClaimDuplicate,
        Self::ClaimUnknown,
        Self::ClaimMissing,
        Self::ClaimMalformed,
        Self::NotCanonical,
        Self::IssuerUnknown,
        Self::AudienceMismatch,
        Self::LifetimeTooLong,
        Self::SignatureInvalid,
        Self::NotYetValid,
        Self::Expired,
        Self::Revoked,
        Self::InstanceMismatch,
        Self::GenerationStale,
    ];

    /// The constant.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "TOKEN_MALFORMED",
            Self::HeaderNotOurs => "TOKEN_HEADER_NOT_OURS",
            Self::KeyUnknown => "TOKEN_KEY_UNKNOWN",
            Self::AlgorithmRefused => "TOKEN_ALGORITHM_REFUSED",
            Self::ClaimDuplicate => "TOKEN_CLAIM_DUPLICATE",
            Self::ClaimUnknown => "TOKEN_CLAIM_UNKNOWN",
            Self::ClaimMissing => "TOKEN_CLAIM_MISSING",
            Self::ClaimMalformed => "TOKEN_CLAIM_MALFORMED",
            Self::NotCanonical => "TOKEN_NOT_CANONICAL",
            Self::IssuerUnknown => "TOKEN_ISSUER_UNKNOWN",
            Self::AudienceMismatch => "TOKEN_AUDIENCE_MISMATCH",
            Self::LifetimeTooLong => "TOKEN_LIFETIME_TOO_LONG",
            Self::SignatureInvalid => "TOKEN_SIGNATURE_INVALID",
            Self::NotYetValid => "TOKEN_NOT_YET_VALID",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Revoked => "TOKEN_REVOKED",
            Self::InstanceMismatch => "TOKEN_INSTANCE_MISMATCH",
            Self::GenerationStale => "TOKEN_GENERATION_STALE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_explained_in_the_documentation() {
        let page = include_str!("../../../docs/tokens.md");
        for refusal in TokenRefusal::ALL {
            assert!(page.contains(&format!("| `{refusal}` |")), "{refusal}");
        }
    }
}
