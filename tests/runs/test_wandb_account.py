import socket
from types import SimpleNamespace

from rlgen.runs.wandb_account import why_offline


def test_wandb_is_online_only_with_an_account_and_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = SimpleNamespace(base_url=f"http://127.0.0.1:{port}", api_key=None)
        assert "no account" in why_offline(settings)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret")
        assert why_offline(settings) == ""
        monkeypatch.setenv("WANDB_API_KEY", "secret")
        assert why_offline(settings) == ""
    assert why_offline(settings) == "127.0.0.1 cannot be reached"
