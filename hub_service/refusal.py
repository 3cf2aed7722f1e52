"""Refusals that the queue did not see."""

from broker.messages import ContractError, Error, ErrorCode


class RefusedError(ContractError):
    """A refusal that is yet to be audited."""

    @classmethod
    def of(cls, error: Error) -> "RefusedError":
        """Return the refusal with this error."""
        return cls(error.code, error.message, error.hint, **error.details)


def unknown_experiment(experiment_id: str) -> RefusedError:
    """Return the refusal of what names no experiment."""
    return RefusedError(
        ErrorCode.NOT_FOUND,
        f"there is no experiment {experiment_id}",
        "compare the id with the list of experiments",
    )
