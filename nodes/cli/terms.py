"""What a task promises beyond its rule, in words: only what it has."""

from __future__ import annotations

from middleware.policy import MICRO, WIDTH_ONE, Policy


def terms(policy: Policy) -> list[tuple[str, str]]:
    """(name, words) for each part of the policy that is not as usual."""
    found = []
    if policy.server is not None:
        found.append(("server step", policy.server.kind))
    if policy.training.seconds is not None:
        found.append(("training", f"{policy.training.seconds:g} s a round, however far a device gets"))
    schedule = policy.schedule
    if schedule is not None and schedule.arrivals is not None:
        weighed = f"staleness {schedule.staleness or 'not weighed'}, {schedule.most_stale} rounds at most"
        found.append(("schedule", f"a round closes after {schedule.arrivals} updates; {weighed}"))
    elif schedule is not None:
        backups = f"{schedule.backup_devices} devices an edge and for {schedule.backup_edges} edges"
        found.append(("schedule", f"a round does not wait for {backups}"))
    if policy.peers is not None:
        every = "in the last round" if policy.peers.every is None else f"every {policy.peers.every} rounds"
        found.append(("peers", f"{policy.peers.kind}: an edge's model is its own, all meet {every}"))
    if policy.shards is not None:
        found.append(("parameter server", f"{policy.shards} processes of the cloud, each with its slice of the model"))
    if policy.widths is not None:
        parts = ", ".join(f"{width / WIDTH_ONE:g}" for width in policy.widths)
        found.append(("widths", f"a device trains the widest of {parts} of the model that it can"))
    for kind, promise in (
        ("central, whole clients", policy.privacy), ("local, whole clients", policy.local), ("single records", policy.records),
    ):  # fmt: skip
        if promise is not None:
            found.append(
                ("privacy", f"{kind}: epsilon {promise.epsilon / MICRO:g} over the task, delta {promise.delta:g}")
            )
    if policy.codec.choices is not None:
        offered = ", ".join(choice.name for choice in policy.codec.choices)
        found.append(("codecs", f"{offered}; an upload should take {policy.codec.upload_seconds:g} s at most"))
    if policy.pay == "scores":
        found.append(("pay", f"by scores, every {policy.epoch_rounds} rounds"))
    return found
