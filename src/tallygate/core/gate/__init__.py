"""What decides on a step: the policy, the budgets of the settings, a call's life, the words of the answer."""
