"""The author's log in the 2012 code against our copy of it: every file, every digit, the protocols."""

from __future__ import annotations

import pytest

from harness.published.load import measurements, remarks

# What a parameter file's log prints: loss, top-1 and top-5 error as fractions. Names are those of layer-params-*.cfg.
LOG = {
    "run_145": ("145", 1.741473, 0.406640, 0.182100),
    "run_145-2010": ("145-2010", 1.614660, 0.374727, 0.169987),
    "run_145-2010.centre": ("145-2010", 1.706031, 0.390247, 0.182953),
    "run_145-continued": ("145", 1.725738, 0.402500, 0.179940),
    "run_145-half": ("145-half", 1.702802, 0.391680, 0.182287),
    "run_147": ("147", 1.757644, 0.410580, 0.185100),
    "run_148": ("148", 1.822358, 0.420340, 0.193620),
    "run_150": ("150", 1.811173, 0.418280, 0.193300),
    "run_167": ("167", 1.738715, 0.404880, 0.181180),
    "run_170": ("170", 1.730076, 0.405280, 0.180480),
    "run_170.centre": ("170", 1.838933, 0.423407, 0.195827),
    "run_169": ("169", 1.735123, 0.405960, 0.181120),
    "run_166": ("166", 1.768124, 0.410960, 0.186740),
    "run_170-quant": ("170-quant", 1.749848, 0.405240, 0.184160),
    "run_170-256-double": ("170-256-double", 1.840643, 0.422726, 0.196598),
    "run_177": ("177", 1.744414, 0.406900, 0.183040),
    "run_178": ("178", 1.845021, 0.424038, 0.197017),
    "run_163": ("163", 1.849131, 0.429085, 0.199072),
    "run_137": ("137", 1.751138, 0.407820, 0.183440),
    "run_135": ("135", 1.757653, 0.410700, 0.184160),
    "run_131": ("131", 1.755725, 0.409340, 0.185740),
    "run_120": ("120-2012", 1.765247, 0.410440, 0.187140),
    "run_146-2012-2011": ("146-2012-2011", 1.633191, 0.389900, 0.166220),
    "run_146-2012-2009": ("146-2012-2009", 1.646452, 0.391000, 0.168760),
    "run_112": ("112", 1.6064990917001289, 0.37237829837731168, 0.16815557540767209),
    "run_conv94": ("inet-5layer-conv94-2gpu", None, 0.38107167346938753, 0.17608947619047613),
}
BY_ID = measurements()


def test_every_measurement_of_a_run_is_checked_here_but_the_one_that_is_estimated():
    runs = {name for name in measurements() if name.startswith("run_")}
    assert runs - set(LOG) == {"run_145.centre_estimate"}


@pytest.mark.parametrize("run", LOG)
def test_run_cites_the_file_whose_log_prints_its_numbers(run):
    assert BY_ID[run].section == f"layers/layer-params-{LOG[run][0]}.cfg"


@pytest.mark.parametrize("run", LOG)
def test_run_has_the_digits_of_its_log(run):
    """The log has fractions of six decimals, so percent of four; two old runs print 17 digits, rounded likewise."""
    _, loss, top1, top5 = LOG[run]
    values = BY_ID[run].values
    assert (values["top1_error"], values["top5_error"]) == (round(100 * top1, 4), round(100 * top5, 4))
    assert values.get("log_loss") == (None if loss is None else round(loss, 6))


@pytest.mark.parametrize("run", ["run_112", "run_conv94"])
def test_protocol_is_not_stated_where_the_log_is_silent(run):
    assert BY_ID[run].protocol == "not_stated"
    assert "names neither the images nor the views" in BY_ID[run].note


def test_errors_of_run_112_are_fractions_of_the_2010_test_images_but_two():
    """Two of the 150,000 could not be read; the loader skips such images."""
    _, _, top1, top5 = LOG["run_112"]
    assert (top1, top5) == pytest.approx((55_856 / 149_998, 25_223 / 149_998), rel=1e-12)


@pytest.mark.parametrize("run", ["run_167", "run_166", "run_178", "run_120"])
def test_run_that_differs_from_its_baseline_in_more_than_its_name_says_so(run):
    assert BY_ID[run].baselines
    assert BY_ID[run].note


def test_no_note_calls_the_schedules_of_runs_167_and_170_the_same():
    """Their weights' rates fall by 1,000 and by 250."""
    assert "1,000" in BY_ID["run_167"].note
    assert "250" in BY_ID["run_167"].note


CENTRE_2012 = (
    42.653,  # 155
    42.8933,  # 156
    43.1177,  # 157
    42.8884,  # 158
    43.3855,  # 160
    43.8533,  # 162
    42.9085,  # 163
    42.784,  # 165
    42.8586,  # 166
    42.6772,  # 167
    42.5298,  # 169
    42.9784,  # 169, 80 epochs
    42.3407,  # 170
    42.2944,  # 170, images faded into each other
    42.5008,  # 170, the same three times as often
    42.2726,  # 170-256-double
    42.57,  # 170-quant
    42.3356,  # 171
    42.5222,  # 174
    42.516,  # 175
    42.4376,  # 177
    42.4038,  # 178
)


def test_remark_gives_the_number_and_the_range_of_the_centre_errors():
    (text,) = [remark.text for remark in remarks() if "centre errors" in remark.text]
    assert f"has {len(CENTRE_2012)} centre errors" in text
    assert f"{min(CENTRE_2012):.2f} to {max(CENTRE_2012):.2f} %" in text


# Centre and ten views of the same run, top-1 and top-5 error in percent, wherever a log of the 2012 images has both.
BOTH = {
    "155": ((42.653, 40.744), (19.9652, 18.524)),
    "156": ((42.8933, 40.764), (19.8336, 18.35)),
    "157": ((43.1177, 41.114), (20.3271, 18.704)),
    "158": ((42.8884, 41.026), (19.991, 18.538)),
    "160": ((43.3855, 41.374), (20.5452, 19.036)),
    "165": ((42.784, 40.982), (19.8452, 18.392)),
    "166": ((42.8586, 41.096), (20.1039, 18.674)),
    "167": ((42.6772, 40.488), (19.759, 18.118)),
    "169": ((42.5298, 40.596), (19.5489, 18.112)),
    "170": ((42.3407, 40.528), (19.5827, 18.048)),
    "170, fade": ((42.2944, 40.25), (19.5334, 18.116)),
    "170-quant": ((42.57, 40.524), (19.997, 18.416)),
    "171": ((42.3356, 40.42), (19.7664, 18.14)),
    "174": ((42.5222, 40.438), (19.3946, 18.042)),
    "177": ((42.4376, 40.69), (19.7056, 18.304)),
}


@pytest.mark.parametrize(
    ("measure", "at", "gap"), [("top1_error", 0, "1.95"), ("top5_error", 1, "1.49")]
)
def test_centre_error_of_run_145_is_its_ten_views_and_the_mean_gap_of_runs_with_both(measure, at, gap):
    gaps = [pair[at][0] - pair[at][1] for pair in BOTH.values()]
    mean = sum(gaps) / len(gaps)
    estimate = BY_ID["run_145.centre_estimate"]
    assert f"{mean:.2f}" == gap
    assert f"{len(gaps)} runs" in estimate.note
    assert gap in estimate.note
    assert estimate.values[measure] == round(BY_ID["run_145"].values[measure] + mean, 1)
