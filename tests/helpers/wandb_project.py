"""A wandb project without a server: runs as the public API gives them."""


class FakeRun:
    """As `wandb.apis.public.Run`."""

    entity, project = "lab", "bench"

    def __init__(self, config, rows, state="finished", **summary):
        self.config, self.rows, self.state, self.scans = config, rows, state, []
        self.id = self.name = f"{config.get('exp_name')}-{config.get('seed')}"
        self.summary_metrics = {key: value for row in rows for key, value in row.items()} | summary

    def scan_history(self, keys):
        self.scans.append(keys)
        return (row for row in self.rows if all(key in row for key in keys))


def cleanrl(name="dqn", seed=1, final=400.0, state="finished", reached=50_000, more=(), **options):
    """A run with CleanRL's names: its last episode ends a little before the last step."""
    config = {"exp_name": name, "env_id": "CartPole-v1", "seed": seed, "total_timesteps": 50_000, "track": True}
    rows = [
        {"global_step": s - 7, "_runtime": s / 1_000, "charts/episodic_return": final * s / 50_000}
        for s in range(1_000, reached + 1, 1_000)
    ]
    rows[1:1] = [{"global_step": 1_500, "_runtime": 1.5, "losses/td_loss": 0.1}]
    return FakeRun(config | options, [*rows, *more], state, global_step=reached - 7, _runtime=reached / 1_000)


def six(api, **options):
    """Six runs each of two algorithms, one clearly better."""
    for seed in range(6):
        api.runs += [cleanrl("dqn", seed, 300.0 + seed, **options), cleanrl("c51", seed, 400.0 + seed, **options)]
