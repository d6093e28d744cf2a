//! The only place that turns reasons into faults.

use std::time::Duration;

use sandgate_audit::Refused;
use sandgate_rpc::{Fault, Reason};
use sandgate_types::Malformed;

use crate::browse::BrowseError;
use crate::commit::ChangesError;
use crate::content::ReadError;
use crate::objects::ObjectError;
use crate::rebuild::RebuildError;
use crate::store::StoreError;
use crate::upload::UploadError;
use crate::workspace::AccessError;
use crate::write::WriteError;

/// When a busy database or object store is worth another call.
const BUSY: Duration = Duration::from_millis(200);
/// When a service that looks for its database is worth another call: mostly it is just starting.
const STARTING: Duration = Duration::from_millis(100);

const fn reason(code: &'static str) -> Reason {
    Reason::new("storage", code)
}

/// The database or the object store is not there yet.
pub(crate) fn not_ready() -> Fault {
    Fault::unavailable(reason("NOT_READY"), "storage-sync waits for its database")
        .retry_after(STARTING)
}

/// What was decided could not be put on record, and so does not happen.
pub(crate) fn not_recorded(refused: Refused) -> Fault {
    Fault::unavailable(reason("AUDIT_UNAVAILABLE"), refused.to_string()).retry_after(BUSY)
}

fn head_moved() -> Fault {
    let text = "the head is another version by now; read it, and make the change on it";
    Fault::aborted(reason("HEAD_MOVED"), text)
}

fn version_unknown(version: impl std::fmt::Display) -> Fault {
    let text = "the workspace has no such version";
    Fault::not_found(reason("VERSION_UNKNOWN"), text).about("version", version)
}

fn cut() -> Fault {
    Fault::cancelled(reason("STREAM_CUT"), "the stream ended before all was sent")
}

impl From<AccessError> for Fault {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Malformed(violations) => violations.into(),
            AccessError::NoUser => {
                let text = "the caller is no user, and may not name one";
                Fault::permission_denied(reason("NO_USER"), text)
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            let text = "the database is busy; try again";
            return Fault::unavailable(reason("STORE_BUSY"), text).retry_after(BUSY);
        }
        Fault::internal(error)
    }
}

impl From<ObjectError> for Fault {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Store(object_store::Error::NotFound { .. })
            | ObjectError::Blob { .. }
            | ObjectError::Foreign(_) => Fault::internal(error),
            ObjectError::Store(cause) => {
                tracing::warn!(error = %cause, "the object store failed");
                let text = "the object store does not answer, or has no room; try again";
                Fault::unavailable(reason("OBJECTS_UNAVAILABLE"), text).retry_after(BUSY)
            }
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Object(error) => error.into(),
            ReadError::Page(error) => Fault::internal(error),
        }
    }
}

impl From<RebuildError> for Fault {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Malformed(malformed) => malformed.into(),
            RebuildError::TooLarge => {
                let text = "a version has at most 1,000,000 entries and 64 TiB";
                Fault::exhausted(reason("VERSION_TOO_LARGE"), text).quota("version", text)
            }
            RebuildError::Read(error) => error.into(),
            RebuildError::Object(error) => error.into(),
        }
    }
}

impl From<BrowseError> for Fault {
    fn from(error: BrowseError) -> Self {
        match error {
            BrowseError::VersionUnknown(version) => version_unknown(version),
            BrowseError::PathUnknown => Fault::not_found(
                reason("PATH_UNKNOWN"),
                "the version has nothing at this path",
            ),
            BrowseError::NotDirectory => {
                let text = "this path is no directory";
                Fault::failed_precondition(reason("NOT_A_DIRECTORY"), text)
                    .precondition("KIND", "path", text)
            }
            BrowseError::NotFile => {
                let text = "this path is no file";
                Fault::failed_precondition(reason("NOT_A_FILE"), text)
                    .precondition("KIND", "path", text)
            }
            BrowseError::BeyondEnd { size } => {
                let text = "the file ends before this offset";
                Fault::out_of_range(reason("OFFSET_BEYOND_END"), text).meta("size", size)
            }
            BrowseError::Read(error) => error.into(),
            BrowseError::Store(error) => error.into(),
        }
    }
}

impl From<ChangesError> for Fault {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Malformed(malformed) => malformed.into(),
            ChangesError::Cut => cut(),
        }
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Unknown(upload) => {
                let text = "there is no such upload, or it was forgotten after 24 h; begin one";
                Fault::not_found(reason("UPLOAD_UNKNOWN"), text).about("upload", upload)
            }
            UploadError::Committed => {
                let text = "the upload has committed; begin another";
                Fault::failed_precondition(reason("UPLOAD_COMMITTED"), text).precondition(
                    "STATE",
                    "upload_id",
                    text,
                )
            }
            UploadError::ParentUnknown(version) => version_unknown(version),
            UploadError::HeadMoved => head_moved(),
            UploadError::RunPassed => {
                let text = "a later run of this sandbox has the workspace";
                Fault::failed_precondition(reason("RUN_PASSED"), text).precondition(
                    "GENERATION",
                    "sandbox",
                    text,
                )
            }
            UploadError::TooMany => {
                let text = "the workspace has too many uploads that did not commit";
                Fault::exhausted(reason("UPLOADS_TOO_MANY"), text).quota("uploads", text)
            }
            UploadError::Full => {
                let text = "the upload has as many chunks or bytes as one may have; commit it";
                Fault::exhausted(reason("UPLOAD_FULL"), text).quota("upload", text)
            }
            UploadError::Changes(error) => error.into(),
            UploadError::Rebuild(error) => error.into(),
            UploadError::Object(error) => error.into(),
            UploadError::Store(error) => error.into(),
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::HeadMoved => head_moved(),
            WriteError::VersionUnknown(version) => version_unknown(version),
            WriteError::IsDirectory => {
                let text = "a directory has this path";
                Fault::failed_precondition(reason("IS_A_DIRECTORY"), text).precondition(
                    "KIND",
                    "header.path",
                    text,
                )
            }
            WriteError::NotDirectory => {
                let text = "something above this path is no directory";
                Fault::failed_precondition(reason("NOT_A_DIRECTORY"), text).precondition(
                    "KIND",
                    "header.path",
                    text,
                )
            }
            WriteError::TooLarge => {
                let text = "the file is larger than one that is written without a sandbox may be";
                Fault::exhausted(reason("FILE_TOO_LARGE"), text).quota("file", text)
            }
            WriteError::RequestReused => {
                let rule = "must not be that of another request of the last 24 h";
                Malformed::new("request_id", rule).into()
            }
            WriteError::Cut => cut(),
            WriteError::Malformed(malformed) => malformed.into(),
            WriteError::Rebuild(error) => error.into(),
            WriteError::Read(error) => error.into(),
            WriteError::Object(error) => error.into(),
            WriteError::Store(error) => error.into(),
        }
    }
}
