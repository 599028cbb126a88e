"""Operations that take several calls, as generators that do no network I/O."""
