"""The function at home: Lambda's Runtime API, a function URL and a stand-in for Bedrock on this machine."""
