"""What to say of a path that the system refuses."""

import errno

_FULL = {errno.ENOSPC: "make room", errno.EDQUOT: "make room in your quota"}
_REMEDIES = {
    **_FULL,
    errno.EACCES: "have its permissions changed, or choose another place",
    errno.EPERM: "have its permissions changed, or choose another place",
    errno.EROFS: "mount it for writing, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter one",
}


def refusal(error: OSError) -> str | None:
    """What the system refused, in one sentence; None where it names no file, so that the program may be at fault."""
    if error.strerror is None or (error.filename is None and error.errno not in _FULL):
        return None
    remedy = _REMEDIES.get(error.errno or 0, "check the path")
    return f"{error.filename or 'a file'} cannot be used: {error.strerror}; {remedy}, and repeat the command."
