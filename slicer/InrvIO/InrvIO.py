"""3D Slicer: loads `.inrv` files as scalar volumes, and saves scalar volumes and label maps as such files.

Slicer finds `InrvIOFileReader` and `InrvIOFileWriter` by their names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

import slicer

ENDING = "inrv"
MAGIC = b"\x89INRV\r\n\x1a"


class InrvIO(ScriptedLoadableModule):
    """What the list of modules says."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "inrv volumes"
        parent.categories = ["Informatics"]
        parent.contributors = ["the inrcodec authors"]
        parent.helpText = "Loads and saves CT and MR volumes as implicit neural representations (.inrv)."
        parent.hidden = True


class _InrvFiles:
    """What reader and writer say of the files."""

    def __init__(self, parent):
        self.parent = parent

    def description(self):
        return "Volume as implicit neural representation"

    def fileType(self):
        return "InrvFile"


class InrvIOFileReader(_InrvFiles):
    """Reads a file into a new scalar volume, or label map."""

    def extensions(self):
        return [f"inrv volume (*.{ENDING})"]

    def canLoadFile(self, filePath):
        try:
            with open(filePath, "rb") as file:
                return file.read(len(MAGIC)) == MAGIC
        except OSError:
            return False

    def load(self, properties):
        from inrcodec import decode_volume
        from inrcodec.plugins.geometry import ras

        path = properties["fileName"]
        try:
            volume = decode_volume(path)
        except Exception as error:
            slicer.util.errorDisplay(f"Cannot load {path}: {error}")
            return False
        name = properties.get("name") or Path(path).stem
        kind = "vtkMRMLLabelMapVolumeNode" if volume.labels else "vtkMRMLScalarVolumeNode"
        node = slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.values()))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ras(volume.affine)))
        node.SetAttribute("inrv.modality", volume.modality)
        node.CreateDefaultDisplayNodes()
        self.parent.loadedNodes = [node.GetID()]
        return True


class InrvIOFileWriter(_InrvFiles):
    """Writes a scalar volume or label map without loss."""

    def extensions(self, obj):
        return [f"inrv volume, without loss (.{ENDING})"]

    def canWriteObject(self, obj):
        return bool(obj and obj.IsA("vtkMRMLScalarVolumeNode"))

    def write(self, properties):
        from inrcodec import Volume, encode_file
        from inrcodec.plugins.geometry import lps

        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        affine = lps(slicer.util.arrayFromVTKMatrix(_matrix_of(node)))
        modality = node.GetAttribute("inrv.modality") or ""
        volume = Volume.from_array(slicer.util.arrayFromVolume(node), affine=affine, modality=modality)
        try:
            encode_file(volume, properties["fileName"], force=True, lossless=True)
        except Exception as error:
            slicer.util.errorDisplay(f"Cannot save {properties['fileName']}: {error}")
            return False
        self.parent.writtenNodes = [node.GetID()]
        return True


def _matrix_of(node):
    """From voxel index to RAS."""
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    return matrix
