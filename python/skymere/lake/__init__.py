"""The lake: every array and every table of a survey in one folder, published atomically, asked with Polars."""

from skymere.lake.arrays import ArrayGroup, StoredArray
from skymere.lake.beam_actions import (
    add_beam_actions,
    beam_action_rows,
    edited_beams,
    retract_beam_actions,
)
from skymere.lake.cells import WIDTH_PIX, HealpixTile, HealpixTiles
from skymere.lake.codec import n_levels, pyramid, quantise, round_weights
from skymere.lake.compaction import Compaction
from skymere.lake.conditions import Condition, parse_condition, parse_value
from skymere.lake.cutouts import LARGE, LARGEST_PIX, SIZE_CLASSES, Cutouts
from skymere.lake.doctor import Finding, examine
from skymere.lake.edits import (
    REPLAYED,
    ROLES,
    StoredEdit,
    add_regions,
    outcome_rows,
    region_rows,
    regions_from_rows,
    replay_outcomes,
    retract_edits,
    stored_edits,
)
from skymere.lake.export_spectra import spectra_of
from skymere.lake.files import write_whole
from skymere.lake.forms import table_dtypes
from skymere.lake.fsck import Fault
from skymere.lake.garbage import Garbage
from skymere.lake.gates import Gate
from skymere.lake.identity import Identity
from skymere.lake.lake import Lake
from skymere.lake.ledger import Failure, about_objects
from skymere.lake.metering import peak_memory
from skymere.lake.migrations import migration
from skymere.lake.notes import add_note, note_rows, withdraw_notes
from skymere.lake.open_arrays import OpenArray
from skymere.lake.pending import Pending
from skymere.lake.profile_edits import (
    add_profile_edit,
    profile_edit_rows,
    retract_profile_edits,
    stored_profile_edits,
)
from skymere.lake.provenance import Provenance
from skymere.lake.ragged import Ragged, RaggedPlane, write_ragged
from skymere.lake.run import EVENTS, Run, run_id
from skymere.lake.schemas import ArraySpec, Column, Schema, load_schema, products
from skymere.lake.sky import around, in_box, in_cone, polygon_middle, polygons_overlap, separation
from skymere.lake.spill import RaggedSpill
from skymere.lake.tiles import NamedTile, Tile, Tiles, TileSet
from skymere.lake.unused import unused_exposures
from skymere.lake.votable import rows_from_astropy

__all__ = [
    "EVENTS",
    "LARGE",
    "LARGEST_PIX",
    "REPLAYED",
    "ROLES",
    "SIZE_CLASSES",
    "WIDTH_PIX",
    "ArrayGroup",
    "ArraySpec",
    "Column",
    "Compaction",
    "Condition",
    "Cutouts",
    "Failure",
    "Fault",
    "Finding",
    "Garbage",
    "Gate",
    "HealpixTile",
    "HealpixTiles",
    "Identity",
    "Lake",
    "NamedTile",
    "OpenArray",
    "Pending",
    "Provenance",
    "Ragged",
    "RaggedPlane",
    "RaggedSpill",
    "Run",
    "Schema",
    "StoredArray",
    "StoredEdit",
    "Tile",
    "TileSet",
    "Tiles",
    "about_objects",
    "add_beam_actions",
    "add_note",
    "add_profile_edit",
    "add_regions",
    "around",
    "beam_action_rows",
    "edited_beams",
    "examine",
    "in_box",
    "in_cone",
    "load_schema",
    "migration",
    "n_levels",
    "note_rows",
    "outcome_rows",
    "parse_condition",
    "parse_value",
    "peak_memory",
    "polygon_middle",
    "polygons_overlap",
    "products",
    "profile_edit_rows",
    "pyramid",
    "quantise",
    "region_rows",
    "regions_from_rows",
    "replay_outcomes",
    "retract_beam_actions",
    "retract_edits",
    "retract_profile_edits",
    "round_weights",
    "rows_from_astropy",
    "run_id",
    "separation",
    "spectra_of",
    "stored_edits",
    "stored_profile_edits",
    "table_dtypes",
    "unused_exposures",
    "withdraw_notes",
    "write_ragged",
    "write_whole",
]
