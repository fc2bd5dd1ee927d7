"""Counts invocations of whose end only Lambda can tell, out of the lines that it writes itself into the log.

The function tells of every other end in its own metrics. What kills it, or keeps it from starting, is in
Lambda's reports alone: one line at an invocation's end, with `Status` and `Error Type` where it was bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import aws_logs as logs

if TYPE_CHECKING:
    from constructs import Construct

# In the words of CloudWatch Logs' regular expressions, which have no parentheses and no plain spaces.
#
# Types that Lambda does not know, such as the function's own in its error trailers, may be reported as
# `Runtime.Unknown`; so is an exception while starting. That one is told by the start's own report, and
# with it whatever else begins with U. A start that fails before anybody calls is tried again when
# somebody does (`Phase: invoke`), and counts only then.
PATTERNS = (
    r"^REPORT\s.*Status:\stimeout",
    r"^REPORT\s.*Error\sType:\sRuntime\.[A-TV-Z]",
    r"^INIT_REPORT\s.*Phase:\sinvoke\s.*Error\sType:\sRuntime\.U",
    r"^RESTORE_REPORT\s.*Status:\s[et]",  # error or timeout, after which nothing is invoked
)


def count(
    scope: Construct, log_group: logs.ILogGroup, *, namespace: str, metric_name: str
) -> logs.MetricFilter:
    """Have each such line counted as one, at the time of the line.

    Nothing is told where there is none, so that it costs nothing.
    """
    return logs.MetricFilter(
        scope,
        "CrashFilter",
        log_group=log_group,
        filter_pattern=logs.FilterPattern.literal(f"%{'|'.join(PATTERNS)}%"),
        metric_namespace=namespace,
        metric_name=metric_name,
        metric_value="1",
    )
