// A judge in Go: aws-sdk-go-v2 makes one call of Bedrock's at a function URL, and what the SDK made of the answer is
// printed. A question comes as JSON on standard input, what was seen goes as JSON to standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
)

const patience = 30 * time.Second

// question says which call to make, and of what. Body is for InvokeModel*, the members after it are for Converse*. With
// a Result, the answer is handed back with that as the result of each of its tool calls, and the model asked again.
type question struct {
	URL       string
	Operation string
	Model     string
	Body      json.RawMessage
	Prompt    string
	Tools     []string
	Image     []byte
	Document  []byte
	Schema    string
	Stop      []string
	MaxTokens int32
	Thinking  bool
	Result    string
	before    []types.Message
}

// block is a content block, put together from whatever pieces it came in.
type block struct {
	Text      string
	Reasoning string
	Signature string
	Redacted  []byte
	ToolUseID string
	Tool      string
	Input     string
	Pieces    int
}

// failure is the error that the SDK gave: its type is whichever of the SDK's own errors.As finds in it.
type failure struct {
	Type               string
	Code               string
	Message            string
	OriginalStatusCode *int32
}

// seen is what the SDK made of the answer.
type seen struct {
	Authorization string
	Role          types.ConversationRole
	Blocks        map[int32]*block
	Documents     []json.RawMessage
	StopReason    types.StopReason
	Usage         map[string]int32
	InputTokens   int32
	LatencyMs     *int64
	Unknown       []string
	Failure       *failure
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		log.Fatal(err)
	}
	saw := &seen{Blocks: map[int32]*block{}}
	client, err := newClient(ctx, asked.URL, &saw.Authorization)
	if err != nil {
		log.Fatal(err)
	}
	calls := map[string]func(context.Context, *bedrockruntime.Client, question, *seen) error{
		"Converse":                      converse,
		"ConverseStream":                converseStream,
		"CountTokens":                   countTokens,
		"InvokeModel":                   invokeModel,
		"InvokeModelWithResponseStream": invokeModelWithResponseStream,
	}
	err = calls[asked.Operation](ctx, client, asked, saw)
	if err == nil && asked.Result != "" {
		asked.before, saw.Blocks = saw.turns(asked), map[int32]*block{}
		err = calls[asked.Operation](ctx, client, asked, saw)
	}
	saw.Failure = told(err)
	if err := json.NewEncoder(os.Stdout).Encode(saw); err != nil {
		log.Fatal(err)
	}
}

// newClient is all that a program changes to talk to a function URL instead of Bedrock: the endpoint, and the name of
// the service that its signatures are for.
func newClient(ctx context.Context, url string, authorization *string) (*bedrockruntime.Client, error) {
	loaded, err := config.LoadDefaultConfig(
		ctx,
		config.WithRegion("us-east-1"),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("test", "test", "")),
		config.WithRetryMaxAttempts(1),
	)
	if err != nil {
		return nil, err
	}
	return bedrockruntime.NewFromConfig(
		loaded,
		func(options *bedrockruntime.Options) { options.BaseEndpoint = aws.String(url) },
		bedrockruntime.WithSigV4SigningName("lambda"),
		func(options *bedrockruntime.Options) { options.HTTPClient = recorder{authorization} },
	), nil
}

// recorder keeps the signature of what is sent.
type recorder struct{ authorization *string }

func (r recorder) Do(request *http.Request) (*http.Response, error) {
	*r.authorization = request.Header.Get("Authorization")
	return http.DefaultClient.Do(request)
}

func converseStream(ctx context.Context, client *bedrockruntime.Client, asked question, saw *seen) error {
	answer, err := client.ConverseStream(ctx, &bedrockruntime.ConverseStreamInput{
		ModelId:                      aws.String(asked.Model),
		Messages:                     asked.messages(),
		ToolConfig:                   asked.toolConfig(),
		InferenceConfig:              asked.inferenceConfig(),
		OutputConfig:                 asked.outputConfig(),
		AdditionalModelRequestFields: asked.thinking(),
	})
	if err != nil {
		return err
	}
	stream := answer.GetStream()
	defer stream.Close()
	for event := range stream.Events() {
		switch event := event.(type) {
		case *types.ConverseStreamOutputMemberMessageStart:
			saw.Role = event.Value.Role
		case *types.ConverseStreamOutputMemberContentBlockStart:
			if start, ok := event.Value.Start.(*types.ContentBlockStartMemberToolUse); ok {
				of := saw.block(*event.Value.ContentBlockIndex)
				of.ToolUseID, of.Tool = *start.Value.ToolUseId, *start.Value.Name
			}
		case *types.ConverseStreamOutputMemberContentBlockDelta:
			saw.add(*event.Value.ContentBlockIndex, event.Value.Delta)
		case *types.ConverseStreamOutputMemberContentBlockStop:
		case *types.ConverseStreamOutputMemberMessageStop:
			saw.StopReason = event.Value.StopReason
		case *types.ConverseStreamOutputMemberMetadata:
			saw.Usage = counted(event.Value.Usage)
			saw.LatencyMs = event.Value.Metrics.LatencyMs
		case *types.UnknownUnionMember:
			saw.Unknown = append(saw.Unknown, event.Tag)
		}
	}
	return stream.Err()
}

func converse(ctx context.Context, client *bedrockruntime.Client, asked question, saw *seen) error {
	answer, err := client.Converse(ctx, &bedrockruntime.ConverseInput{
		ModelId:                      aws.String(asked.Model),
		Messages:                     asked.messages(),
		ToolConfig:                   asked.toolConfig(),
		InferenceConfig:              asked.inferenceConfig(),
		OutputConfig:                 asked.outputConfig(),
		AdditionalModelRequestFields: asked.thinking(),
	})
	if err != nil {
		return err
	}
	message := answer.Output.(*types.ConverseOutputMemberMessage).Value
	saw.Role, saw.StopReason = message.Role, answer.StopReason
	saw.Usage, saw.LatencyMs = counted(answer.Usage), answer.Metrics.LatencyMs
	for index, content := range message.Content {
		of := saw.block(int32(index))
		switch content := content.(type) {
		case *types.ContentBlockMemberText:
			of.Text = content.Value
		case *types.ContentBlockMemberToolUse:
			input, err := content.Value.Input.MarshalSmithyDocument()
			if err != nil {
				return err
			}
			of.ToolUseID, of.Tool, of.Input = *content.Value.ToolUseId, *content.Value.Name, string(input)
		case *types.ContentBlockMemberReasoningContent:
			switch reasoning := content.Value.(type) {
			case *types.ReasoningContentBlockMemberReasoningText:
				of.Reasoning = aws.ToString(reasoning.Value.Text)
				of.Signature = aws.ToString(reasoning.Value.Signature)
			case *types.ReasoningContentBlockMemberRedactedContent:
				of.Redacted = reasoning.Value
			}
		case *types.UnknownUnionMember:
			saw.Unknown = append(saw.Unknown, content.Tag)
		}
	}
	return nil
}

func invokeModelWithResponseStream(
	ctx context.Context, client *bedrockruntime.Client, asked question, saw *seen,
) error {
	answer, err := client.InvokeModelWithResponseStream(ctx, &bedrockruntime.InvokeModelWithResponseStreamInput{
		ModelId:     aws.String(asked.Model),
		ContentType: aws.String("application/json"),
		Body:        asked.Body,
	})
	if err != nil {
		return err
	}
	stream := answer.GetStream()
	defer stream.Close()
	for event := range stream.Events() {
		switch event := event.(type) {
		case *types.ResponseStreamMemberChunk:
			saw.Documents = append(saw.Documents, event.Value.Bytes)
		case *types.UnknownUnionMember:
			saw.Unknown = append(saw.Unknown, event.Tag)
		}
	}
	return stream.Err()
}

func invokeModel(ctx context.Context, client *bedrockruntime.Client, asked question, saw *seen) error {
	answer, err := client.InvokeModel(ctx, &bedrockruntime.InvokeModelInput{
		ModelId:     aws.String(asked.Model),
		ContentType: aws.String("application/json"),
		Body:        asked.Body,
	})
	if err != nil {
		return err
	}
	saw.Documents = append(saw.Documents, answer.Body)
	return nil
}

func countTokens(ctx context.Context, client *bedrockruntime.Client, asked question, saw *seen) error {
	answer, err := client.CountTokens(ctx, &bedrockruntime.CountTokensInput{
		ModelId: aws.String(asked.Model),
		Input: &types.CountTokensInputMemberConverse{
			Value: types.ConverseTokensRequest{Messages: asked.messages()},
		},
	})
	if err != nil {
		return err
	}
	saw.InputTokens = *answer.InputTokens
	return nil
}

func (asked question) messages() []types.Message {
	if asked.before != nil {
		return asked.before
	}
	content := []types.ContentBlock{&types.ContentBlockMemberText{Value: asked.Prompt}}
	if asked.Image != nil {
		content = append(content, &types.ContentBlockMemberImage{Value: types.ImageBlock{
			Format: types.ImageFormatPng,
			Source: &types.ImageSourceMemberBytes{Value: asked.Image},
		}})
	}
	if asked.Document != nil {
		content = append(content, &types.ContentBlockMemberDocument{Value: types.DocumentBlock{
			Format: types.DocumentFormatPdf,
			Name:   aws.String("report"),
			Source: &types.DocumentSourceMemberBytes{Value: asked.Document},
		}})
	}
	return []types.Message{{Role: types.ConversationRoleUser, Content: content}}
}

// turns is the conversation so far: the question, its answer, and the results of the tools that it calls.
func (saw *seen) turns(asked question) []types.Message {
	indexes := slices.Sorted(maps.Keys(saw.Blocks))
	var said, results []types.ContentBlock
	for _, index := range indexes {
		of := saw.Blocks[index]
		switch {
		case of.Signature != "":
			said = append(said, &types.ContentBlockMemberReasoningContent{
				Value: &types.ReasoningContentBlockMemberReasoningText{Value: types.ReasoningTextBlock{
					Text: aws.String(of.Reasoning), Signature: aws.String(of.Signature),
				}},
			})
		case of.Tool != "":
			var input any
			if err := json.Unmarshal([]byte(of.Input), &input); err != nil {
				log.Fatal(err)
			}
			said = append(said, &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{
				ToolUseId: aws.String(of.ToolUseID),
				Name:      aws.String(of.Tool),
				Input:     document.NewLazyDocument(input),
			}})
			results = append(results, &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
				ToolUseId: aws.String(of.ToolUseID),
				Content:   []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: asked.Result}},
			}})
		default:
			said = append(said, &types.ContentBlockMemberText{Value: of.Text})
		}
	}
	return append(
		asked.messages(),
		types.Message{Role: types.ConversationRoleAssistant, Content: said},
		types.Message{Role: types.ConversationRoleUser, Content: results},
	)
}

func (asked question) inferenceConfig() *types.InferenceConfiguration {
	if asked.MaxTokens == 0 && asked.Stop == nil {
		return nil
	}
	limits := &types.InferenceConfiguration{StopSequences: asked.Stop}
	if asked.MaxTokens != 0 {
		limits.MaxTokens = aws.Int32(asked.MaxTokens)
	}
	return limits
}

func (asked question) outputConfig() *types.OutputConfig {
	if asked.Schema == "" {
		return nil
	}
	return &types.OutputConfig{TextFormat: &types.OutputFormat{
		Type: types.OutputFormatTypeJsonSchema,
		Structure: &types.OutputFormatStructureMemberJsonSchema{
			Value: types.JsonSchemaDefinition{Schema: aws.String(asked.Schema), Name: aws.String("place")},
		},
	}}
}

func (asked question) toolConfig() *types.ToolConfiguration {
	if asked.Tools == nil {
		return nil
	}
	schema := document.NewLazyDocument(map[string]any{
		"type":       "object",
		"properties": map[string]any{"city": map[string]any{"type": "string"}},
	})
	var tools []types.Tool
	for _, name := range asked.Tools {
		tools = append(tools, &types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name:        aws.String(name),
			InputSchema: &types.ToolInputSchemaMemberJson{Value: schema},
		}})
	}
	return &types.ToolConfiguration{Tools: tools}
}

func (asked question) thinking() document.Interface {
	if !asked.Thinking {
		return nil
	}
	return document.NewLazyDocument(map[string]any{
		"thinking": map[string]any{"type": "enabled", "budget_tokens": 1024},
	})
}

func (saw *seen) block(index int32) *block {
	if saw.Blocks[index] == nil {
		saw.Blocks[index] = &block{}
	}
	return saw.Blocks[index]
}

func (saw *seen) add(index int32, delta types.ContentBlockDelta) {
	of := saw.block(index)
	of.Pieces++
	switch delta := delta.(type) {
	case *types.ContentBlockDeltaMemberText:
		of.Text += delta.Value
	case *types.ContentBlockDeltaMemberToolUse:
		of.Input += *delta.Value.Input
	case *types.ContentBlockDeltaMemberReasoningContent:
		switch reasoning := delta.Value.(type) {
		case *types.ReasoningContentBlockDeltaMemberText:
			of.Reasoning += reasoning.Value
		case *types.ReasoningContentBlockDeltaMemberSignature:
			of.Signature += reasoning.Value
		case *types.ReasoningContentBlockDeltaMemberRedactedContent:
			of.Redacted = append(of.Redacted, reasoning.Value...)
		}
	case *types.UnknownUnionMember:
		saw.Unknown = append(saw.Unknown, delta.Tag)
	}
}

func counted(usage *types.TokenUsage) map[string]int32 {
	counts := map[string]int32{}
	for name, count := range map[string]*int32{
		"inputTokens":           usage.InputTokens,
		"outputTokens":          usage.OutputTokens,
		"totalTokens":           usage.TotalTokens,
		"cacheReadInputTokens":  usage.CacheReadInputTokens,
		"cacheWriteInputTokens": usage.CacheWriteInputTokens,
	} {
		if count != nil {
			counts[name] = *count
		}
	}
	return counts
}

// exceptions are the SDK's own types, each with errors.As for it.
var exceptions = map[string]func(error) bool{
	"AccessDeniedException":         is[*types.AccessDeniedException],
	"InternalServerException":       is[*types.InternalServerException],
	"ModelErrorException":           is[*types.ModelErrorException],
	"ModelNotReadyException":        is[*types.ModelNotReadyException],
	"ModelStreamErrorException":     is[*types.ModelStreamErrorException],
	"ModelTimeoutException":         is[*types.ModelTimeoutException],
	"ResourceNotFoundException":     is[*types.ResourceNotFoundException],
	"ServiceQuotaExceededException": is[*types.ServiceQuotaExceededException],
	"ServiceUnavailableException":   is[*types.ServiceUnavailableException],
	"ThrottlingException":           is[*types.ThrottlingException],
	"ValidationException":           is[*types.ValidationException],
}

func is[E error](err error) bool {
	var found E
	return errors.As(err, &found)
}

func told(err error) *failure {
	if err == nil {
		return nil
	}
	said := &failure{Message: err.Error()}
	for name, is := range exceptions {
		if is(err) {
			said.Type = name
		}
	}
	var answered smithy.APIError
	if errors.As(err, &answered) {
		said.Code, said.Message = answered.ErrorCode(), answered.ErrorMessage()
	}
	var model *types.ModelStreamErrorException
	if errors.As(err, &model) {
		said.OriginalStatusCode = model.OriginalStatusCode
	}
	return said
}
