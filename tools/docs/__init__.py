"""Makes the parts of the documentation that come from the code: references and screenshots."""
