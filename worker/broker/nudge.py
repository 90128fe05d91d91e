"""Send a nudge by the actor's name, so that no sender needs to import what it wakes."""

from dramatiq import Broker, Message


def nudge(broker: Broker, actor_name: str, queue: str, **ids: int | str) -> None:
    """Wake a worker. Only after the row the ids name was committed. Raises UnreachableError; the tick nudges again."""
    broker.enqueue(Message(queue_name=queue, actor_name=actor_name, args=(), kwargs=ids, options={}))
