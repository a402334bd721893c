"""How many programs come compiled from JAX's cache."""

from typing import Any

from jax import monitoring

_READ, _MADE = "/jax/compilation_cache/cache_hits", "/jax/compilation_cache/cache_misses"


class CacheUse:
    """Counts the programs that are read from the compilation cache, and those made for it."""

    def __enter__(self) -> "CacheUse":
        self._seen = dict.fromkeys((_READ, _MADE), 0)
        monitoring.register_event_listener(self._count)
        return self

    def __exit__(self, *exception: Any) -> None:
        monitoring.unregister_event_listener(self._count)

    def __str__(self) -> str:
        read, made = self._seen[_READ], self._seen[_MADE]
        return f"{read} of {read + made} programs from the cache" if read + made else "no cache"

    def _count(self, event: str, **kwargs: Any) -> None:
        if event in self._seen:
            self._seen[event] += 1
