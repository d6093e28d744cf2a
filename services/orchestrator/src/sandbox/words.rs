//! The words under which phases, reasons and intents are stored. They never change their meaning.

use super::{Intent, Phase, Reason};

macro_rules! words {
    ($type:ident { $($variant:ident => $word:literal,)* }) => {
        impl $type {
            /// The word under which it is stored.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads the stored word.
            pub(crate) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words!(Phase {
    Claiming => "CLAIMING",
    Attaching => "ATTACHING",
    Hydrating => "HYDRATING",
    Ready => "READY",
    Suspending => "SUSPENDING",
    Suspended => "SUSPENDED",
    Deleting => "DELETING",
    Deleted => "DELETED",
    Finished => "FINISHED",
    Failed => "FAILED",
});
words!(Reason {
    None => "",
    Requested => "REQUESTED",
    Expired => "EXPIRED",
    Idle => "IDLE",
    SessionMax => "SESSION_MAX",
    BackendRestarted => "BACKEND_RESTARTED",
    InstanceLost => "INSTANCE_LOST",
    NoCapacity => "NO_CAPACITY",
    AttachFailed => "ATTACH_FAILED",
    HydrateFailed => "HYDRATE_FAILED",
    CommandEnded => "COMMAND_ENDED",
});
words!(Intent {
    Start => "START",
    End => "END",
});
