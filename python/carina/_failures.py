"""Films that could not be read: a warning, or an exception."""


def report_failures(
    failures: list[tuple[int, str]],
    *,
    raises: bool,
    become: str = "its values are NaN",
) -> None:
    """Warn of rows that could not be read, or raise for the first."""
    if not failures:
        return
    row, message = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    text = f"row {row}: {message}{more}"
    if raises:
        from carina.errors import FormatError

        raise FormatError(text)
    import warnings

    warnings.warn(f"{text}; {become}", stacklevel=3)
