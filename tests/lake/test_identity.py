import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.lake.identity import Fate, inherit
from skymere.lake.sky import healpix29


def segments(text):
    return np.array([[int(c) for c in row] for row in text.split()], np.int32)


def test_a_moved_segment_keeps_its_identifier():
    inherited, fates = inherit(segments("1100 1100"), {1: 100}, segments("0550 0550"), {5})
    assert (inherited, fates) == ({5: 100}, [])


def test_a_split_leaves_the_identifier_with_the_larger_part():
    inherited, fates = inherit(segments("11111"), {1: 100}, segments("23333"), {2, 3})
    assert inherited == {3: 100}
    assert fates == [Fate(100, "split", 2, 1)]


def test_a_merge_keeps_the_identifier_of_the_larger_part():
    inherited, fates = inherit(segments("12222"), {1: 100, 2: 200}, segments("77777"), {7})
    assert inherited == {7: 200}
    assert fates == [Fate(100, "merge", 7, 1)]


def test_a_segment_that_is_gone_disappears():
    inherited, fates = inherit(segments("1100"), {1: 100}, segments("0022"), {2})
    assert inherited == {}
    assert fates == [Fate(100, "disappear", 0, 0)]


def test_labels_that_were_not_published_take_no_part():
    inherited, fates = inherit(segments("1122"), {1: 100}, segments("3344"), {4})
    assert inherited == {}
    assert fates == [Fate(100, "disappear", 0, 0)]


def test_ties_go_to_the_smaller_label():
    inherited, fates = inherit(segments("1122"), {1: 100, 2: 200}, segments("3333"), {3})
    assert inherited == {3: 100}
    assert fates == [Fate(200, "merge", 3, 2)]


def test_segmentations_of_different_shape_are_refused():
    with pytest.raises(InvalidInputError, match=r"\(1, 5\).*\(1, 4\)"):
        inherit(segments("1111"), {1: 1}, segments("11111"), {1})


def test_the_first_publication_names_sources_after_their_place(lake, survey):
    survey.publish(lake, "segmentation")
    survey.publish(lake, "source")
    rows = lake.table("source").collect()
    assert (rows["source_id"] == rows["_healpix_29"]).all()
    assert lake.table("alias").collect().is_empty()


def test_the_next_detection_inherits_identifiers_and_records_what_is_gone(lake, survey):
    survey.publish(lake, "segmentation", version=1)
    survey.publish(lake, "source", version=1)
    before = lake.table("source").collect()
    parent = lake.live_run("source", "east")
    survey.publish(lake, "segmentation", version=2)
    survey.publish(lake, "source", version=2)
    after = lake.table("source").collect()
    both = before.join(after, on="label", suffix="_new")
    assert both.height == 8
    assert (both["source_id"] == both["source_id_new"]).all()
    assert (after["source_id"] != after["_healpix_29"]).all()
    (alias,) = lake.table("alias").collect().iter_rows(named=True)
    gone = before.filter(~pl.col("source_id").is_in(after["source_id"].implode()))["source_id"].item()
    assert (alias["old_id"], alias["kind"], alias["source_id"], alias["parent_run"]) == (gone, "disappear", -1, parent)
    run = lake.table("run").filter(run_id=lake.live_run("source", "east")).collect()
    assert run["parent_run"].item() == parent


def test_identifiers_are_never_used_again(lake, survey):
    for version in (1, 2):
        survey.publish(lake, "segmentation", version=version)
        survey.publish(lake, "source", version=version)
    alias = lake.table("alias").collect()
    rows = lake.table("source").collect()
    empty = np.zeros(survey.SHAPE, np.int32)
    gone, kept = alias["old_id"].item(), rows.row(0, named=True)
    first = {"labels": [7], "ra": [kept["ra"]], "dec": [kept["dec"]]}
    ra, dec = survey.centres("east", 1)[3:]
    place = {"labels": [50, 51], "ra": [ra[0]] * 2, "dec": [dec[0]] * 2}
    assert healpix29(ra[:1], dec[:1])[0] == gone
    assert lake.identify("east", empty, **place).source_id.tolist() == [gone + 1, gone + 2]
    assert lake.identify("east", empty, **first).source_id.tolist() == [kept["_healpix_29"]]
    assert lake.identify("east", empty, **place).alias.height == rows.height


def test_identity_is_deterministic(lake, survey):
    survey.publish(lake, "segmentation", version=1)
    survey.publish(lake, "source", version=1)
    names, _, _, ra, dec = survey.centres("east", 2)
    image = survey.labels("east", 2)
    whole = lake.identify("east", image, labels=names, ra=ra, dec=dec)
    turned = lake.identify("east", image, labels=names[::-1], ra=ra[::-1], dec=dec[::-1])
    assert whole.source_id.tolist() == turned.source_id[::-1].tolist()
    assert whole.alias.equals(turned.alias)
