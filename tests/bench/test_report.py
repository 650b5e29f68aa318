"""The report as people read it."""


def test_the_table_says_what_it_was_measured_on(rlgen):
    code, out, _ = rlgen("--only", "vae")
    assert code == 0
    for word in ("vae-mlp", "us per image", "torch", "1 thread(s)", "Warm-up", "2 blocks of 0.002 s"):
        assert word in out
