// What can be told of an error, and calls whose outcome may be one.

export function failure(error) {
  return {
    error: error?.name ?? typeof error,
    message: error?.message ?? (typeof error === 'string' ? error : JSON.stringify(error)),
    status: error?.statusCode ?? error?.$metadata?.httpStatusCode,
    retryable: error?.isRetryable,
    originalStatus: error?.originalStatusCode,
  };
}

// Makes all of the calls one after another; an error is the outcome of its call.
export async function attempts(calls) {
  const seen = {};
  for (const [name, call] of Object.entries(calls)) {
    try {
      seen[name] = await call();
    } catch (error) {
      seen[name] = failure(error);
    }
  }
  return seen;
}
