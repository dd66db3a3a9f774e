"""The picture of a trace: its spans as a tree of text."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass
class Node:
    """A span, as far as the picture needs it. The ids are hexadecimal, `began_at` and `ended_at` are in nanoseconds."""

    span_id: str
    parent_id: str | None
    service: str
    name: str
    began_at: int
    ended_at: int
    children: list["Node"] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The name, with the service in front of it if it is known."""
        return f"{self.service}: {self.name}" if self.service else self.name


def tree(nodes: Iterable[Node]) -> list[Node]:
    """Return the roots, with their children in the order in which these began."""
    known = {node.span_id: replace(node, children=[]) for node in nodes}
    roots: list[Node] = []
    for node in sorted(known.values(), key=lambda node: node.began_at):
        parent = known.get(node.parent_id or "")
        (roots if parent is None else parent.children).append(node)
    return roots


def picture(roots: Iterable[Node], *, with_times: bool = True) -> str:
    """Return the lines of the picture: an indented line for each span, with its milliseconds."""
    lines: list[str] = []

    def draw(node: Node, depth: int) -> None:
        milliseconds = f"{(node.ended_at - node.began_at) / 1e6:8.1f} ms  " if with_times else ""
        lines.append(f"{milliseconds}{'  ' * depth}{node.title}")
        for child in node.children:
            draw(child, depth + 1)

    for root in roots:
        draw(root, 0)
    return "\n".join(lines)
