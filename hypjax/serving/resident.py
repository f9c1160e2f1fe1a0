"""What a server holds: a model, and the index as it is on the disk, taken anew when it has changed there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

from hypjax.data.errors import UsageError
from hypjax.run.trained import Trained
from hypjax.stores import answers, calibrations
from hypjax.stores.calibrations import Calibrated
from hypjax.stores.gallery import FileGallery, open_gallery
from hypjax.stores.hits import Gallery


class Snapshot(NamedTuple):
    """An index as it was at one time; whoever answers keeps to one of them.

    Attributes:
      gallery: what is searched.
      calibrated: of it; None where it is not.
      notice: why a calibration that is there is not used; "" otherwise.
      changes: how often the index has changed since the server began.
      made: what was made of it and is not made twice, by name.
    """

    gallery: Gallery
    calibrated: Calibrated | None
    notice: str
    changes: int
    made: dict[Any, Any]

    @property
    def in_file(self) -> bool:
        """Whether it is a file's, whose rows are all at hand, and no database's."""
        return isinstance(self.gallery, FileGallery)


class Resident:
    """A model and its index.

    Args:
      model: that made the index.
      address: of the index, as `open_gallery` takes it.
      workdir: of the model, for messages.
      images: the folder where the indexed pictures are now; where they were when they were embedded by default.
      approximate: as in `FileGallery`.

    Attributes:
      snapshot: the index that answers.
      notice: why what is on the disk does not; "" where it does.

    Raises:
      UsageError: no index, or one of another model.
    """

    def __init__(self, model: Trained, address: str, *, workdir: str, images: str = "", approximate: str = "") -> None:
        self.model, self.address, self.workdir, self.notice = model, address, workdir, ""
        self._images, self._approximate, self._taking = images, approximate, threading.Lock()
        self._state = self._file_state()
        self.snapshot = self._take(0)
        if not self.snapshot.in_file:
            self._state = len(self.snapshot.gallery)

    @property
    def root(self) -> Path:
        """The folder of the indexed pictures."""
        return Path(self._images or self.snapshot.gallery.about["root"])

    @property
    def notices(self) -> list[str]:
        """What is not well: of the index on the disk, and of its calibration."""
        return [notice for notice in (self.notice, self.snapshot.notice) if notice]

    def refresh(self) -> bool:
        """Looks whether the index has changed and takes it anew, beside the old one, which answers until then.

        One in a database changes where it is, and is noticed by how many images it holds.

        Returns:
          Whether it was taken.
        """
        with self._taking:
            state = self._file_state() if self.snapshot.in_file else len(self.snapshot.gallery)
            if state is None:
                self.notice = f"{self.address} is gone; what it held still answers"
            if state is None or state == self._state:
                return False
            self._state, changes = state, self.snapshot.changes + 1
            try:
                taken = (
                    self._take(changes) if self.snapshot.in_file else self.snapshot._replace(changes=changes, made={})
                )
            except UsageError as error:
                self.notice = f"{error}; what was there before still answers"
                return False
            self.snapshot, self.notice = taken, ""
            return True

    def _take(self, changes: int) -> Snapshot:
        gallery = open_gallery(self.address, space=self.model.space, approximate=self._approximate, lagging=True)
        answers.require_maker(
            gallery.about, self.model.fingerprint, index=self.address, workdir=self.workdir, step=self.model.step
        )
        try:
            calibrated, notice = None if self._approximate else calibrations.read(Path(self.address)), ""
        except UsageError as error:
            calibrated, notice = None, str(error)
        if self._approximate:
            notice = "a calibration holds for exact answers, and this search is approximate"
        gallery.nearest(gallery.sample(1).points, 1)  # what makes the first search slow is made now
        return Snapshot(gallery, calibrated, notice, changes, {})

    def _file_state(self) -> Any:
        """What changes when the index or its calibration is replaced; None where there is no such file."""
        path = Path(self.address)
        if not path.is_file():
            return None
        held = [file.stat() for file in (path, calibrations.place(path)) if file.is_file()]
        return [(status.st_ino, status.st_mtime_ns, status.st_size) for status in held]
