"""Files to products and back."""

from skymere.io._open import open_fits
from skymere.io.background_spectra import BackgroundSpectrum, find_background_spectra, read_background_spectrum
from skymere.io.bands import read_band
from skymere.io.beams import beam_position, beam_wcs, read_beam_file, write_beam_file
from skymere.io.catalogues import read_transmission, write_fast
from skymere.io.coordinates import DistortionFiles, read_gwcs
from skymere.io.detections import write_detection, write_detection_rows, write_sources
from skymere.io.exposures import (
    ExposureHead,
    ReadParams,
    chips_of,
    distortion_files,
    exposure_id,
    file_digest,
    read_exposure,
    read_exposures,
    read_heads,
)
from skymere.io.extensions import read_extensions, write_extensions
from skymere.io.full_files import FullFile, read_full_file, write_full_file
from skymere.io.full_headers import LINE_COLUMNS, redshift_columns
from skymere.io.grism_configs import read_config
from skymere.io.grism_setups import GrismSetup, read_grism_setup
from skymere.io.grism_spectra import read_grism_spectra, read_grism_stacks, write_grism_spectra, write_grism_stacks
from skymere.io.headers import BlendRule, InputHeader, blend_headers, input_header, read_blend_rules
from skymere.io.images import (
    image_shape,
    physical_cards,
    read_grid,
    read_image,
    read_labels,
    read_mask,
    write_image,
    write_image_rows,
    write_images,
    write_with_data,
)
from skymere.io.mosaics import read_mosaic, write_mosaic
from skymere.io.msa_metafiles import MsaMetafile, read_msa_metafile
from skymere.io.packs import Pack, add_pack, build_pack, find_pack, find_packs, find_reference, pack_folders
from skymere.io.psf_libraries import PsfLibrary, read_psf_image, read_psf_library
from skymere.io.slit_models import SlitEntry, list_slits, read_slitlet, read_slitlets
from skymere.io.slit_tables import (
    SlitProfileTable,
    read_bad_pixels,
    read_bar_shadow,
    read_dispersion,
    read_psf_fwhm,
    read_sensitivity,
    read_sky_spectrum,
    read_slit_flat,
    read_slit_normalization,
    read_slit_profile,
    read_slit_tables,
)
from skymere.io.slit_writing import write_slitlets
from skymere.io.solutions import read_headerlet, write_headerlet, write_shifts, write_with_wcs
from skymere.io.spectra import read_spectrum
from skymere.io.stored import open_band
from skymere.io.tables import read_numbers, read_table, write_table, write_tables
from skymere.io.thumbnails import GeometryCards, read_geometry_cards, read_thumbnail, thumbnail_inputs, write_thumbnail

__all__ = [
    "LINE_COLUMNS",
    "BackgroundSpectrum",
    "BlendRule",
    "DistortionFiles",
    "ExposureHead",
    "FullFile",
    "GeometryCards",
    "GrismSetup",
    "InputHeader",
    "MsaMetafile",
    "Pack",
    "PsfLibrary",
    "ReadParams",
    "SlitEntry",
    "SlitProfileTable",
    "add_pack",
    "beam_position",
    "beam_wcs",
    "blend_headers",
    "build_pack",
    "chips_of",
    "distortion_files",
    "exposure_id",
    "file_digest",
    "find_background_spectra",
    "find_pack",
    "find_packs",
    "find_reference",
    "image_shape",
    "input_header",
    "list_slits",
    "open_band",
    "open_fits",
    "pack_folders",
    "physical_cards",
    "read_background_spectrum",
    "read_bad_pixels",
    "read_band",
    "read_bar_shadow",
    "read_beam_file",
    "read_blend_rules",
    "read_config",
    "read_dispersion",
    "read_exposure",
    "read_exposures",
    "read_extensions",
    "read_full_file",
    "read_geometry_cards",
    "read_grid",
    "read_grism_setup",
    "read_grism_spectra",
    "read_grism_stacks",
    "read_gwcs",
    "read_headerlet",
    "read_heads",
    "read_image",
    "read_labels",
    "read_mask",
    "read_mosaic",
    "read_msa_metafile",
    "read_numbers",
    "read_psf_fwhm",
    "read_psf_image",
    "read_psf_library",
    "read_sensitivity",
    "read_sky_spectrum",
    "read_slit_flat",
    "read_slit_normalization",
    "read_slit_profile",
    "read_slit_tables",
    "read_slitlet",
    "read_slitlets",
    "read_spectrum",
    "read_table",
    "read_thumbnail",
    "read_transmission",
    "redshift_columns",
    "thumbnail_inputs",
    "write_beam_file",
    "write_detection",
    "write_detection_rows",
    "write_extensions",
    "write_fast",
    "write_full_file",
    "write_grism_spectra",
    "write_grism_stacks",
    "write_headerlet",
    "write_image",
    "write_image_rows",
    "write_images",
    "write_mosaic",
    "write_shifts",
    "write_slitlets",
    "write_sources",
    "write_table",
    "write_tables",
    "write_thumbnail",
    "write_with_data",
    "write_with_wcs",
]
